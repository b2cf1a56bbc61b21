"""The loop on a real control: instances come at once, follow the load, and survive errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from libs.common.backoff import Backoff
from libs.common.catalog import Backend, Model, Scaling
from libs.common.clients.control import ControlClient
from libs.common.clock import SystemClock
from libs.common.explanation import Question
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
from tests.waiting import until

MODEL = Model(
    name="m",
    task="text-generation",
    backend=Backend(repository="models/m", dedicated=True),
    scaling=Scaling(min=1, max=3),
)
CATALOG: tuple[Resource, ...] = (Colo(name="ams", region="eu"), MODEL)
CONFIG = app.Config(tick_s=0.1, floor_s=0.1, measure_s=0.02)
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
    config = replace(config, state_dir=folder)
    process = app.build_process(
        config, control_config, catalog=CATALOG, registry=registry, clock=SystemClock()
    )
    async with app.serve_process(control_config, process):
        yield registry


async def test_instances_come_at_once_and_follow_the_load(folder: Path) -> None:
    slow = replace(CONFIG, tick_s=60.0, floor_s=60.0)
    async with ControlClient(f"unix:{folder}/control.sock") as client:
        site = Site(client)
        async with scheduler_process(folder, slow), site.running():
            async with asyncio.timeout(3):  # long before the first tick is over
                await site.instances(1)

        async with scheduler_process(folder) as registry, site.running():
            site.demand = 7
            await site.instances(3)
            await until(lambda: _metric(registry, "autoscaler_snapshot_replica_count") == 3)
            assert _metric(registry, "requested_instances") == 3
            deployed = {"status": "ready", "gpu_model": ""}
            assert _metric(registry, "model_deployments", **deployed) == 3

            found = await client.explain(Question(model="m", count=2))
            assert [each.desired for each in found.decisions] == [3, 3]
            assert found.decisions[0].at_ms > found.decisions[1].at_ms
            assert found.decisions[0].quantiles
            assert found.snapshots[-1].replica_count == 3
            then = found.decisions[1].at_ms
            before = await client.explain(Question(model="m", at_ms=then))
            assert before.decisions == (found.decisions[1],)
            assert [each for each in found.snapshots if each.at_ms <= then] == [*before.snapshots]
            assert before.snapshots
            assert len(before.snapshots) < len(found.snapshots)

            await client.put(Override(model="m", max=1))
            await site.instances(1)


async def test_operators_bounds_count_at_once(folder: Path) -> None:
    config = replace(CONFIG, tick_s=60.0, floor_s=60.0)
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
            await client.put(Override(model="m", max=1))
            await site.instances(1)
            await client.delete(Ref("model", "m"))
            await site.instances(0)


async def test_a_call_that_waits_for_the_first_instance_does_not_wait_for_a_tick(
    folder: Path,
) -> None:
    config = replace(CONFIG, tick_s=60.0, floor_s=60.0)
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


def _metric(registry: CollectorRegistry, name: str, **labels: str) -> float:
    labels = {"model": "m", "tier": "standard", "region": "eu"} | labels
    return registry.get_sample_value(f"ai_scheduler_{name}", labels) or 0.0


def _reason(world: World) -> str:
    decision = world.table(Decision).get("m@eu")
    return decision.reason if decision else ""
