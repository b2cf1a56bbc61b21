"""Wires a node: the one place where its concrete classes meet."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from libs.common.backoff import Backoff
from libs.common.bounds import (
    AtLeastOne,
    AtLeastZero,
    Niceness,
    NotNegative,
    Seconds,
    SecondsOrNone,
)
from libs.common.clock import Clock
from libs.common.finetunes import AssetSource
from libs.common.lifecycle import background
from libs.common.ports import ControlPlane
from libs.common.world import World, keep_reporting
from libs.common.world_map import Node
from services.node import machine
from services.node.agent import Agent
from services.node.drivers.triton import TritonDriver
from services.node.fetching import Fetching
from services.node.metrics import NodeMetrics
from services.node.weights import Weights

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of a node."""

    name: str
    colo: str
    state_dir: Path
    root: Path  # what the catalog's paths are relative to
    environment: Path  # Triton's, as `make setup` makes it
    host: str = "127.0.0.1"  # where its Tritons listen, and servers reach them
    detach: bool = False  # whether Tritons outlive the agent, and are adopted by the next
    step_s: Seconds = 0.25
    report_s: Seconds = 1.0
    drain_s: SecondsOrNone = 30.0
    longest_backoff_s: Seconds = 60.0
    boot_s: Seconds = 60.0
    load_s: Seconds = 120.0
    stop_s: SecondsOrNone = 10.0
    nice: Niceness = 10  # of Tritons: who takes requests comes first where CPUs are shared
    fetches_at_once: AtLeastOne = 4  # of uploaded finetunes
    cpus: NotNegative | None = None  # what the scheduler may count on; None: what is found
    memory_mb: AtLeastZero | None = None
    gpus: AtLeastZero | None = None
    gpu_memory_mb: AtLeastZero | None = None  # of each
    gpu_model: str | None = None
    provider: str = ""  # who runs the machine; empty: it is ours


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """An agent and its driver."""

    agent: Agent
    driver: TritonDriver
    fetching: Fetching


def build(
    config: Config, *, world: World, source: AssetSource, metrics: NodeMetrics, clock: Clock
) -> App:
    """Assemble a node without starting anything; `source` has what is uploaded."""
    folder = config.state_dir / "nodes" / config.name
    driver = TritonDriver(
        folder=folder,
        environment=config.environment,
        detach=config.detach,
        host=config.host,
        boot_seconds=config.boot_s,
        load_seconds=config.load_s,
        stop_seconds=config.stop_s,
        nice=config.nice,
    )
    fetching = Fetching(
        node=config.name,
        folder=folder.absolute() / "finetunes",
        source=source,
        world=world,
        clock=clock,
        at_once=config.fetches_at_once,
        step_s=config.step_s,
        longest_backoff_s=config.longest_backoff_s,
    )
    agent = Agent(
        me=describe(config),
        world=world,
        driver=driver,
        root=config.root,
        clock=clock,
        step_s=config.step_s,
        drain_s=config.drain_s,
        longest_backoff_s=config.longest_backoff_s,
        fetched=fetching.adapter,
        weights=Weights(world=world, root=config.root, clock=clock).here,
    )
    metrics.watch(agent.report)
    return App(agent=agent, driver=driver, fetching=fetching)


@asynccontextmanager
async def serve(config: Config, app: App, *, control: ControlPlane) -> AsyncIterator[None]:
    """Keep the instances while inside; on leaving stop them, or detached, leave them."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.driver)
        await stack.enter_async_context(
            background(
                keep_reporting(
                    control,
                    app.agent.report,
                    every_s=config.report_s,
                    wake=app.agent.changed,
                    backoff=Backoff(),
                ),
                name=f"{config.name} reports",
            )
        )
        await app.fetching.take_stock()
        fetching = background(app.fetching.run(), name=f"{config.name} fetching")
        await stack.enter_async_context(fetching)
        await stack.enter_async_context(background(app.agent.run(), name=f"{config.name} agent"))
        yield


def describe(config: Config) -> Node:
    """Return what the node has: what the settings say, else what is found."""
    found = machine.gpus() if config.gpus is None else machine.Gpus(config.gpus)

    def given(setting: T | None, otherwise: T) -> T:
        return otherwise if setting is None else setting

    return Node(
        name=config.name,
        colo=config.colo,
        cpus=given(config.cpus, float(os.cpu_count() or 0)),
        memory_mb=given(config.memory_mb, machine.memory_mb()),
        gpus=found.count,
        gpu_memory_mb=given(config.gpu_memory_mb, found.memory_mb),
        gpu_model=given(config.gpu_model, found.model),
        provider=config.provider,
    )
