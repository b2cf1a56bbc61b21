"""The loop on a real control: instances come at once, follow the load, and survive errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from libs.common.backoff import Backoff
from libs.common.catalog import Backend, Model, Scaling
from libs.common.clients.control import ControlClient
from libs.common.clock import SystemClock
from libs.common.errors import Unavailable
from libs.common.lifecycle import background
from libs.common.world import World, follow, keep_reporting
from libs.common.world_map import (
    Assignment,
    Colo,
    Decision,
    Instance,
    Node,
    Override,
    Ref,
    Report,
    Resource,
    Server,
    ShardLoad,
)
from services.control import app as control_app
from services.scheduler import app
from services.scheduler.damping import Damping
from services.scheduler.forecast import LastValue
from services.scheduler.history import History
from services.scheduler.loop import Scheduler, Settings
from services.scheduler.metrics import Metrics
from services.scheduler.placement import FleetState
from services.scheduler.plan import Plan
from services.scheduler.sizing import Sizer

MODEL = Model(
    name="m",
    task="text-generation",
    backend=Backend(repository="models/m", dedicated=True),
    scaling=Scaling(min=1, max=3),
)
CATALOG: tuple[Resource, ...] = (Colo(name="ams", region="eu"), MODEL)
CONFIG = app.Config(tick_s=0.1, measure_s=0.02, down_after_s=0.4)
QUICK = Backoff(first_s=0.02, most_s=0.1)


class Site:
    """A node that runs what it is told, and a server with a load; both report to control."""

    def __init__(self, client: ControlClient) -> None:
        self.client = client
        self.world = World()
        self.demand = 0
        self.queued = 0
        self.wake = asyncio.Event()
        self.world.listen(lambda _: self.wake.set())

    def node(self) -> Report:
        assigned = self.world.table(Assignment).get("n1/m")
        count = assigned.instances if assigned else 0
        instances = (
            Instance(id=f"n1/{slot}", model="m", colo="ams", node="n1", state="ready")
            for slot in range(count)
        )
        resources = (Node(name="n1", colo="ams"), *instances)
        return Report(kind="node", name="n1", colo="ams", resources=resources)

    def server(self) -> Report:
        load = ShardLoad(
            model="m",
            colo="ams",
            index=0,
            server="s1",
            in_flight=self.demand,
            queued=self.queued,
        )
        resources = (Server(name="s1", colo="ams", address="x"), load)
        return Report(kind="server", name="s1", colo="ams", resources=resources)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Site]:
        async with (
            background(follow(self.client, self.world, backoff=QUICK), name="world"),
            background(
                keep_reporting(self.client, self.node, every_s=0.05, wake=self.wake, backoff=QUICK),
                name="node",
            ),
            background(
                keep_reporting(self.client, self.server, every_s=0.05, backoff=QUICK),
                name="server",
            ),
        ):
            yield self

    async def instances(self, count: int) -> None:
        async with asyncio.timeout(10):
            await self.world.until(lambda world: len(world.table(Instance)) == count)


@asynccontextmanager
async def scheduler_process(
    folder: Path, config: app.Config = CONFIG
) -> AsyncIterator[CollectorRegistry]:
    registry = CollectorRegistry()
    control_config = control_app.Config(state_dir=folder, listen="", grace_s=2)
    process = app.build_process(
        config, control_config, catalog=CATALOG, registry=registry, clock=SystemClock()
    )
    async with app.serve_process(control_config, process):
        yield registry


async def test_instances_come_at_once_and_follow_the_load(folder: Path) -> None:
    slow = replace(CONFIG, tick_s=60.0)
    async with ControlClient(f"unix:{folder}/control.sock") as client:
        site = Site(client)
        async with scheduler_process(folder, slow), site.running():
            async with asyncio.timeout(3):  # long before the first tick is over
                await site.instances(1)

        async with scheduler_process(folder) as registry, site.running():
            site.demand = 7
            await site.instances(3)
            (decision,) = await client.explain("m")
            assert (decision.required, decision.desired) == (3, 3)
            assert decision.reason == "demand 7.0 needs 3"
            await asyncio.sleep(0.3)
            labels = {"model": "m", "region": "eu"}
            value = registry.get_sample_value
            assert value("ai_scheduler_autoscaler_required_instances", labels) == 3
            assert value("ai_scheduler_max_requested_instances", labels) == 3
            assert value("ai_scheduler_instances", labels | {"state": "ready"}) == 3
            measured = value("ai_scheduler_autoscaler_measured_utilization", labels)
            assert measured == pytest.approx(7 / 12)

            loop = asyncio.get_running_loop()
            site.demand, since = 0, loop.time()
            await site.instances(1)
            assert loop.time() - since > 0.3


async def test_operators_bounds_count_at_once(folder: Path) -> None:
    config = replace(CONFIG, tick_s=60.0, down_after_s=0.0)
    async with ControlClient(f"unix:{folder}/control.sock") as client:
        site = Site(client)
        async with scheduler_process(folder, config), site.running():
            await site.instances(1)
            await client.put(Override(model="m", min=2))
            await site.instances(2)
            await client.put(Override(model="m", min=5, max=5))
            await site.instances(5)
            await client.put(Override(model="m", frozen=True))
            await asyncio.sleep(0.4)
            assert len(site.world.table(Assignment)) == 1
            await client.delete(Ref("override", "m@"))
            await site.instances(1)
            await client.delete(Ref("model", "m"))
            await site.instances(0)


async def test_a_call_that_waits_for_the_first_instance_does_not_wait_for_a_tick(
    folder: Path,
) -> None:
    config = replace(CONFIG, tick_s=60.0, down_after_s=0.0)
    async with ControlClient(f"unix:{folder}/control.sock") as client:
        site = Site(client)
        async with scheduler_process(folder, config), site.running():
            await site.instances(1)
            await client.put(Override(model="m", min=0))
            await site.instances(0)
            site.queued = 1
            await site.instances(1)


async def test_a_restart_changes_nothing(folder: Path) -> None:
    async with ControlClient(f"unix:{folder}/control.sock") as client:
        site = Site(client)
        async with site.running():
            site.demand = 7
            async with scheduler_process(folder):
                await site.instances(3)
            seen: list[int] = []
            site.world.listen(lambda _: seen.append(len(site.world.table(Instance))))
            async with scheduler_process(folder):
                await asyncio.sleep(1.5)
            assert seen
            assert set(seen) == {3}


class BrokenFleet:
    """Fails at first."""

    def __init__(self) -> None:
        self.errors: list[Exception] = [Unavailable("away"), KeyError("a bug")]
        self.applied = 0

    def state(self) -> FleetState:
        return FleetState(nodes=[Node(name="n1", colo="ams")], assigned={})

    async def apply(self, plan: Plan) -> None:
        if self.errors:
            raise self.errors.pop()
        self.applied += 1


async def test_no_error_ends_the_loop(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = control_app.Config(state_dir=folder, listen="")
    control = control_app.build(config, catalog=CATALOG)
    registry, world, fleet = CollectorRegistry(), World(), BrokenFleet()
    scheduler = Scheduler(
        world=world,
        fleet=fleet,
        sizer=Sizer(
            forecaster=LastValue(),
            history=History(),
            damping=Damping(down_after_s=1),
            target_utilization=0.8,
        ),
        metrics=Metrics(registry),
        clock=SystemClock(),
        settings=Settings(tick_s=0.1),
    )
    node = Report(kind="node", name="n1", colo="ams", resources=(Node(name="n1", colo="ams"),))

    async with (
        control_app.serve(config, control),
        background(follow(control, world, backoff=QUICK), name="world"),
        background(keep_reporting(control, lambda: node, backoff=QUICK), name="node"),
        app.serve(scheduler),
    ):
        async with asyncio.timeout(5):
            while fleet.applied < 2:
                await asyncio.sleep(0.02)

    assert registry.get_sample_value("ai_scheduler_failed_ticks_total") == 2
    assert len([each for each in caplog.records if each.exc_info]) == 1


async def test_a_decision_says_why_nothing_fits(folder: Path) -> None:
    async with ControlClient(f"unix:{folder}/control.sock") as client:
        site = Site(client)
        async with scheduler_process(folder), site.running():
            await client.put(replace(MODEL, backend=replace(MODEL.backend, dedicated=False)))
            site.demand = 7
            async with asyncio.timeout(20):
                while "no room" not in _reason(site.world):
                    await site.world.changed()

    assert _reason(site.world).endswith("no room for 2: there is an instance on n1")


def _reason(world: World) -> str:
    decision = world.table(Decision).get("m@eu")
    return decision.reason if decision else ""
