"""Wires the scheduler, and its process, which control runs in as well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from libs.common.backoff import Backoff
from libs.common.clock import Clock
from libs.common.databases import sqlite_url
from libs.common.lifecycle import background
from libs.common.ports import ControlPlane
from libs.common.spans import Spans
from libs.common.staged_files import Staged
from libs.common.world import World, follow
from libs.common.world_map import Resource
from services.control import app as control_app
from services.control.metrics import ControlMetrics
from services.control.service import Control
from services.scheduler.config import Config as Config
from services.scheduler.explaining import Explaining
from services.scheduler.fleets.nodes import NodeFleet
from services.scheduler.keeping import Keeping
from services.scheduler.loop import Scheduler, Settings
from services.scheduler.metrics import Metrics
from services.scheduler.snapshots import Snapshots
from services.scheduler.stores.sql import Retention, SqlArchive


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the scheduler keeps, and what it answers from that; made before control and it."""

    archive: SqlArchive
    snapshots: Snapshots
    tick_s: float

    @property
    def explaining(self) -> Explaining:
        """Return what answers why."""
        return Explaining(log=self.archive, snapshots=self.snapshots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The scheduler, and the control that it works with."""

    control: Control
    metrics: ControlMetrics
    world: World
    scheduler: Scheduler
    memory: Memory


def build_memory(config: Config, *, controls_url: str, clock: Clock) -> Memory:
    """Assemble what is kept, without opening anything.

    It is where control has its store, if that is a database that others reach, too: a standby is
    to know what was measured.
    """
    retention = Retention(
        decision_days=config.keep_decisions_days,
        most_decisions=config.keep_decisions,
        series_days=config.keep_series_days,
    )
    shared = "" if controls_url.startswith("sqlite") else controls_url
    url = config.store_url or shared or sqlite_url(config.state_dir / "scheduler.db")
    return Memory(
        archive=SqlArchive(url, clock=clock, retention=retention),
        snapshots=Snapshots(),
        tick_s=config.tick_s,
    )


def build(
    config: Config,
    *,
    control: ControlPlane,
    world: World,
    memory: Memory,
    registry: CollectorRegistry,
    clock: Clock,
    spans: Spans | None = None,
) -> Scheduler:
    """Assemble a scheduler without opening anything; `world` is kept current by the caller.

    `spans` takes those of decisions.
    """
    return Scheduler(
        world=world,
        fleet=NodeFleet(control=control, world=world, clock=clock, patience=config.patience),
        keeping=Keeping(history=memory.archive, log=memory.archive, every_s=config.save_s),
        snapshots=memory.snapshots,
        metrics=Metrics(registry),
        clock=clock,
        settings=Settings(
            tick_s=config.tick_s,
            floor_s=min(config.floor_s, config.tick_s),
            measure_s=config.measure_s,
            dry_run=config.dry_run,
        ),
        spans=spans,
    )


@asynccontextmanager
async def serve(scheduler: Scheduler, memory: Memory) -> AsyncIterator[None]:
    """Decide while inside; what is to be kept is saved on the way out."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(memory.archive.close)
        await stack.enter_async_context(background(scheduler.run(), name="scheduler"))
        yield


def build_process(
    config: Config,
    control_config: control_app.Config,
    *,
    catalog: Sequence[Resource | Staged],
    registry: CollectorRegistry,
    clock: Clock,
    spans: Spans | None = None,
) -> Process:
    """Assemble control and a scheduler without opening anything."""
    memory = build_memory(config, controls_url=control_config.store_url, clock=clock)
    metrics = ControlMetrics(registry)
    control = control_app.build(
        control_config,
        catalog=catalog,
        clock=clock,
        explainer=memory.explaining,
        metrics=metrics,
    )
    world = World()
    scheduler = build(
        config,
        control=control,
        world=world,
        memory=memory,
        registry=registry,
        clock=clock,
        spans=spans,
    )
    return Process(
        control=control, metrics=metrics, world=world, scheduler=scheduler, memory=memory
    )


@asynccontextmanager
async def serve_process(
    control_config: control_app.Config, process: Process
) -> AsyncIterator[tuple[str, ...]]:
    """Run control and the scheduler while inside; yields control's addresses."""
    control, metrics = process.control, process.metrics
    tick_s = process.memory.tick_s
    async with control_app.serve(control_config, control, metrics, tick_s=tick_s) as addresses:
        following = follow(process.control, process.world, backoff=Backoff())
        async with background(following, name="world"), serve(process.scheduler, process.memory):
            yield addresses
