"""Wires the scheduler, and its process, which control runs in as well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from libs.common.backoff import Backoff
from libs.common.bounds import Seconds, SecondsOrNone, Share
from libs.common.clock import Clock
from libs.common.lifecycle import background
from libs.common.ports import ControlPlane
from libs.common.world import World, follow
from libs.common.world_map import Resource
from services.control import app as control_app
from services.control.service import Control
from services.scheduler.damping import Damping
from services.scheduler.fleets.nodes import NodeFleet
from services.scheduler.forecast import LastValue
from services.scheduler.history import History
from services.scheduler.loop import Scheduler, Settings
from services.scheduler.metrics import Metrics
from services.scheduler.sizing import Sizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The scheduler's settings."""

    tick_s: Seconds = 60.0
    measure_s: Seconds = 1.0
    down_after_s: SecondsOrNone = 60.0
    target_utilization: Share = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The scheduler, and the control that it works with."""

    control: Control
    world: World
    scheduler: Scheduler


def build(
    config: Config,
    *,
    control: ControlPlane,
    world: World,
    registry: CollectorRegistry,
    clock: Clock,
) -> Scheduler:
    """Assemble a scheduler without opening anything; `world` is kept current by the caller."""
    return Scheduler(
        world=world,
        fleet=NodeFleet(control=control, world=world),
        sizer=Sizer(
            forecaster=LastValue(),
            history=History(),
            damping=Damping(down_after_s=config.down_after_s),
            target_utilization=config.target_utilization,
        ),
        metrics=Metrics(registry),
        clock=clock,
        settings=Settings(tick_s=config.tick_s, measure_s=config.measure_s),
    )


@asynccontextmanager
async def serve(scheduler: Scheduler) -> AsyncIterator[None]:
    """Decide while inside."""
    async with background(scheduler.run(), name="scheduler"):
        yield


def build_process(
    config: Config,
    control_config: control_app.Config,
    *,
    catalog: Sequence[Resource],
    registry: CollectorRegistry,
    clock: Clock,
) -> Process:
    """Assemble control and a scheduler without opening anything."""
    control = control_app.build(control_config, catalog=catalog, clock=clock)
    world = World()
    scheduler = build(config, control=control, world=world, registry=registry, clock=clock)
    return Process(control=control, world=world, scheduler=scheduler)


@asynccontextmanager
async def serve_process(
    control_config: control_app.Config, process: Process
) -> AsyncIterator[tuple[str, ...]]:
    """Run control and the scheduler while inside; yields control's addresses."""
    async with control_app.serve(control_config, process.control) as addresses:
        following = follow(process.control, process.world, backoff=Backoff())
        async with background(following, name="world"), serve(process.scheduler):
            yield addresses
