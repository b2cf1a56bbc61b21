"""Wires a node: the one place where its concrete classes meet."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from libs.common.backoff import Backoff
from libs.common.clients.posts import Posts, sending
from libs.common.clock import Clock
from libs.common.finetunes import AssetSource
from libs.common.lifecycle import background
from libs.common.own_process import OwnProcess
from libs.common.ports import ControlPlane
from libs.common.spans import NoSpans, Spans
from libs.common.world import World, keep_reporting
from libs.common.world_map import Node
from services.node import machine
from services.node.agent import Agent
from services.node.config import Config as Config
from services.node.drivers.process import ProcessDriver
from services.node.drivers.several import Drivers
from services.node.drivers.triton import TritonDriver
from services.node.fetching import Fetching
from services.node.metrics import NodeMetrics
from services.node.ports import SetupRun
from services.node.state_reports import StateReports
from services.node.weights import Weights

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """An agent, its drivers, and what it tells others."""

    agent: Agent
    driver: Drivers
    fetching: Fetching
    reports: StateReports
    process: OwnProcess
    posts: tuple[Posts, ...] = ()


def build(
    config: Config,
    *,
    world: World,
    source: AssetSource,
    metrics: NodeMetrics,
    clock: Clock,
    spans: Spans | None = None,
) -> App:
    """Assemble a node without starting anything.

    `source` has what is uploaded, `spans` takes those of boots.
    """
    folder = config.state_dir / "nodes" / config.name
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
    me, posts = describe(config), Addresses(config)
    reports = posts.reports(me, world=world, clock=clock, spans=spans or NoSpans())
    driver = _drivers(config, folder, me)

    def booted(run: SetupRun) -> None:
        metrics.boots[config.name, run.model, run.status] += 1
        reports.ran(run)

    agent = Agent(
        me=me,
        world=world,
        driver=driver,
        root=config.root,
        clock=clock,
        step_s=config.step_s,
        drain_s=config.drain_s,
        longest_backoff_s=config.longest_backoff_s,
        fetched=fetching.adapter,
        weights=Weights(world=world, root=config.root, clock=clock).here,
        booted=booted,
    )
    metrics.watch(config.name, agent.report, posts.dropped)
    return App(
        agent=agent,
        driver=driver,
        fetching=fetching,
        reports=reports,
        process=OwnProcess(
            folder=config.state_dir, clock=clock, world=world, certificate=config.hop_cert
        ),
        posts=posts.everyone,
    )


@asynccontextmanager
async def serve(
    config: Config, app: App, *, control: ControlPlane, drains: bool = False
) -> AsyncIterator[None]:
    """Keep the instances while inside; on leaving stop them, or detached, leave them.

    Where it `drains`, servers go on and are told first, so that no call is lost.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.driver)
        await stack.enter_async_context(
            background(
                keep_reporting(
                    control,
                    app.agent.report,
                    every_s=config.report_s,
                    wake=app.agent.changed,
                    process=app.process,
                    backoff=Backoff(),
                ),
                name=f"{config.name} reports",
            )
        )
        await app.fetching.take_stock()
        fetching = background(app.fetching.run(), name=f"{config.name} fetching")
        await stack.enter_async_context(fetching)
        await stack.enter_async_context(sending(app.posts, stop_s=config.reports_stop_s))
        telling = background(app.reports.run(app.agent.report), name=f"{config.name} tells")
        await stack.enter_async_context(telling)
        await stack.enter_async_context(background(app.agent.run(), name=f"{config.name} agent"))
        yield
        if drains and not config.detach:
            await app.agent.leave()


class Addresses:
    """Where others are told of instances, one sender for each address that the settings give."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.states = self._to(config.state_url)
        self.setups = self._to(config.setup_url)

    @property
    def everyone(self) -> tuple[Posts, ...]:
        """Return those that there are."""
        return tuple(each for each in (self.states, self.setups) if each is not None)

    def dropped(self) -> int:
        """Return how many reports could not be sent."""
        return sum(each.dropped for each in self.everyone)

    def reports(self, me: Node, *, world: World, clock: Clock, spans: Spans) -> StateReports:
        """Return what tells them."""
        return StateReports(
            me=me,
            world=world,
            clock=clock,
            spans=spans,
            version=version("constellation-inference"),
            every_s=self._config.state_s,
            states=self.states,
            setups=self.setups,
            image=self._config.docker_image if self._config.driver == "docker" else "",
        )

    def _to(self, url: str) -> Posts | None:
        return Posts(url, token=self._config.report_token) if url else None


def _drivers(config: Config, folder: Path, me: Node) -> Drivers:
    process = ProcessDriver(
        folder=folder,
        root=config.root,
        detach=config.detach,
        host=config.host,
        boot_seconds=config.process_boot_s,
        stop_seconds=config.stop_s,
        nice=config.nice,
    )
    if config.driver == "docker":
        return _with_containers(config, folder, me, process)
    triton = TritonDriver(
        folder=folder,
        environment=config.environment,
        detach=config.detach,
        host=config.host,
        listen=config.listen,
        boot_seconds=config.boot_s,
        load_seconds=config.load_s,
        stop_seconds=config.stop_s,
        nice=config.nice,
    )
    return Drivers(triton=triton, process=process)


def _with_containers(config: Config, folder: Path, me: Node, process: ProcessDriver) -> Drivers:
    # not before: who runs no containers does not pay for the engine's client
    from services.node.drivers.docker import DockerDriver
    from services.node.drivers.docker_spec import Place

    place = Place(
        node=me.name,
        root=config.root.absolute(),
        state_dir=config.state_dir.absolute(),
        folder=folder.absolute() / "docker",
        host=config.host,
        user=f"{os.getuid()}:{os.getgid()}",
        stop_seconds=config.stop_s,
    )
    docker = DockerDriver(
        place=place,
        settings=config,
        detach=config.detach,
        boot_seconds=config.boot_s + config.load_s,
        gpus=me.gpus,
        gpu_memory_mb=me.gpu_memory_mb,
    )
    return Drivers(triton=docker, process=process)


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
