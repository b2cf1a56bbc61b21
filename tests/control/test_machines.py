"""Nodes that are silent: shown as away, kept over a restart, and forgotten in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from libs.common.backoff import Backoff
from libs.common.catalog import Model
from libs.common.clock import ManualClock
from libs.common.lifecycle import background
from libs.common.world import World, keep_reporting
from libs.common.world_map import (
    Assignment,
    Colo,
    EndpointLoad,
    Instance,
    Node,
    Report,
    Resource,
    ShardLoad,
)
from services.accounts_cli import known
from services.control import app
from services.control.machines import Machines
from services.control.reporters import Reporters
from services.control.service import Control
from services.control.settings import Settings
from services.control.snapshot import Snapshot
from tests.fakes import an_instance
from tests.fleet.parts import Disk, MemoryStore
from tests.waiting import until

CATALOG = (Colo(name="ams"), Colo(name="lhr"), Model(name="m", task="text-generation"))
NODE = Node(name="ams-node", colo="ams", cpus=4.0)
READY = an_instance(0, model="m")


@asynccontextmanager
async def serving(folder: Path, *catalog: Resource, grace_s: float = 0.0) -> AsyncIterator[Control]:
    config = app.Config(state_dir=folder, listen="", grace_s=grace_s)
    control = app.build(config, catalog=catalog or CATALOG)
    async with app.serve(config, control):
        yield control


def reporting(control: Control, *instances: Instance) -> AbstractAsyncContextManager[object]:
    report = Report(kind="node", name=NODE.name, colo="ams", resources=(NODE, *instances))
    work = keep_reporting(
        control, lambda: report, every_s=0.05, backoff=Backoff(first_s=0.01, most_s=0.05)
    )
    return background(work, name="node")


async def seen(control: Control) -> tuple[Node | None, set[str]]:
    world = await known(control)  # type: ignore[arg-type]
    return world.table(Node).get(NODE.name), set(world.table(Instance))


async def test_a_node_that_is_silent_is_away_until_it_reports_again(folder: Path) -> None:
    async with serving(folder) as control:
        async with reporting(control, READY):
            await until(lambda: bool(control._snapshot.world.table(Node)), 5)
            assert await seen(control) == (NODE, {READY.id})

        node, instances = await seen(control)
        assert node is not None
        assert node.away_since_ms > 0
        assert instances == {READY.id}

        async with reporting(control, READY):
            nodes = control._snapshot.world.table(Node)
            await until(lambda: not nodes[NODE.name].away_since_ms, 5)


async def test_what_a_silent_node_has_is_known_after_a_restart(folder: Path) -> None:
    async with serving(folder) as control:
        async with reporting(control, READY, an_instance(1, model="m")):
            await until(lambda: len(control._snapshot.world.table(Instance)) == 2, 5)
        before, _ = await seen(control)

    async with serving(folder) as control:
        assert await seen(control) == (before, {READY.id, an_instance(1).id})
        async with reporting(control, READY):
            await until(lambda: len(control._snapshot.world.table(Instance)) == 1, 5)
            assert await seen(control) == (NODE, {READY.id})

    async with serving(folder, grace_s=0.3) as control:  # it reported when control stopped
        node, instances = await seen(control)
        assert node is not None
        assert node.away_since_ms > 0
        assert instances == {READY.id}


async def test_a_node_of_a_colo_that_is_gone_is_not_shown_and_not_kept(folder: Path) -> None:
    async with serving(folder) as control, reporting(control, READY):
        await until(lambda: bool(control._snapshot.world.table(Node)), 5)

    async with serving(folder, CATALOG[1], CATALOG[2]) as control:
        assert await seen(control) == (None, set())
    async with serving(folder) as control:
        assert await seen(control) == (None, set())


FORGET_S = 60.0
HEALTHY = ShardLoad(
    model="m",
    colo="ams",
    index=0,
    server="s",
    endpoints=(EndpointLoad(instance="i", address="h:1", state="healthy"),),
)


class Kept:
    """Machines over a store in memory, at a time that the test sets."""

    def __init__(self, *more: Resource, away_s: float) -> None:
        self.clock, self.disk = ManualClock(), Disk()
        self.snapshot = Snapshot()
        self.store = MemoryStore(self.disk)
        reporters = Reporters(
            self.snapshot,
            gone_s=5.0,
            silent_s=5.0,
            heard=lambda _: None,
            unix_ms=self.clock.unix_ms,
        )
        self.machines = Machines(
            world=self.snapshot.world,
            store=self.store,
            reporters=reporters,
            clock=self.clock,
            settings=Settings(node_forget_s=FORGET_S),
        )
        since_ms = self.clock.unix_ms() - round(1000 * away_s)
        instance = Instance(id="i", model="m", colo="ams", node="n", state="ready")
        self.snapshot.change([Colo(name="ams"), *more])
        self.machines.restore([Node(name="n", colo="ams", away_since_ms=since_ms), instance])

    @property
    def world(self) -> World:
        return self.snapshot.world


@pytest.mark.parametrize(
    ("away_s", "more", "stays"),
    [
        (59.0, (), True),
        (60.0, (), False),
        (60.0, (Assignment(node="n", model="m", instances=1),), True),
        (60.0, (HEALTHY,), True),
    ],
    ids=["not yet", "for long", "something is assigned", "something serves"],
)
def test_a_node_is_forgotten_when_nothing_is_left_of_it(
    away_s: float, more: tuple[Resource, ...], stays: bool
) -> None:
    kept = Kept(*more, away_s=away_s)

    kept.machines.forget()

    assert ("n" in kept.world.table(Node)) is stays
    assert ("i" in kept.world.table(Instance)) is stays


async def test_while_the_store_is_away_nothing_is_kept_and_then_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = Kept(away_s=1.0)
    await kept.store.take_lease(await kept.store.lease(), "me")
    kept.snapshot.change([Node(name="n", colo="ams", cpus=8.0)])

    kept.disk.is_away = True
    for _ in range(3):
        await kept.machines.keep()
    assert caplog.text.count("what nodes report is not kept") == 1
    assert not kept.disk.rows

    kept.disk.is_away = False
    await kept.machines.keep()
    assert list(kept.disk.rows.values()) == [Node(name="n", colo="ams", cpus=8.0)]
