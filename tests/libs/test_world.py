"""The copy of control's state: lookups, listeners, and how it is kept current and reported to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from libs.common import world as world_module
from libs.common.backoff import Backoff
from libs.common.catalog import Finetune, Model
from libs.common.errors import BadInput, RequestError, Unavailable
from libs.common.lifecycle import background
from libs.common.ports import Granted
from libs.common.world import World, follow, keep_reporting
from libs.common.world_map import (
    Account,
    Assignment,
    Instance,
    Ref,
    Report,
    Resource,
    ShardLoad,
    Update,
)
from tests.waiting import until

QUICK = Backoff(first_s=0.005, most_s=0.01)
MODEL = Model(name="@cf/demo/m", task="text-generation", aliases=("m", "old"))


def complete(*puts: Resource, version: int = 1) -> Update:
    return Update(version=version, complete=True, puts=puts)


def put(version: int, *puts: Resource, deletes: tuple[Ref, ...] = ()) -> Update:
    return Update(version=version, puts=puts, deletes=deletes)


class FakeControl:
    """Plays the updates of one connection after the other, and then waits."""

    def __init__(self, *connections: list[Update | RequestError]) -> None:
        self.connections = list(connections)
        self.reports: list[Report] = []
        self.report_errors: list[RequestError] = []
        self.goodbyes = 0

    async def watch(self, colo: str = "") -> AsyncIterator[Update]:
        if not self.connections:
            await asyncio.Event().wait()
        for each in self.connections.pop(0):
            if isinstance(each, RequestError):
                raise each
            yield each

    async def report(self, reports: AsyncIterator[Report], granted: Granted | None = None) -> None:
        async for report in reports:
            self.reports.append(report)
            if self.report_errors:
                raise self.report_errors.pop()
        self.goodbyes += 1


class FakeDisk:
    """Keeps the last update in memory."""

    def __init__(self, kept: Update | None = None, *, error: OSError | None = None) -> None:
        self.kept, self.error, self.saves = kept, error, 0

    def load(self) -> Update | None:
        return self.kept

    def save(self, update: Update) -> None:
        self.saves += 1
        if self.error:
            raise self.error
        self.kept = update


def test_a_model_is_found_by_name_and_alias_until_it_is_gone() -> None:
    world = World()
    world.apply(complete(MODEL, Model(name="old", task="translation")))

    assert world.model("m") == MODEL
    assert world.model("old") == Model(name="old", task="translation")  # a name beats an alias
    world.apply(put(2, deletes=(Ref("model", "old"),)))
    assert world.model("old") == MODEL
    world.apply(put(3, deletes=(Ref("model", MODEL.name),)))
    assert world.model("m") is None


def test_a_finetune_is_its_accounts_or_everyones() -> None:
    world = World()
    public = Finetune(id="1", name="style", model="m")
    private = Finetune(id="2", name="mine", model="m", account="a")
    world.apply(complete(public, private))

    assert world.finetune("style", account="b") == public
    assert world.finetune("2", account="a") == private
    assert world.finetune("mine", account="b") is None


def test_a_finetune_is_found_by_id_and_name_and_ones_own_before_those_of_others() -> None:
    world = World()
    catalogs = Finetune(id="style", name="style", model="m")
    mine = Finetune(id="1", name="style", model="m", account="a")
    shown = Finetune(id="2", name="shown", model="m", account="b", public=True)
    named = Finetune(id="3", name="1", model="m", account="a")  # as another's id
    world.apply(complete(named, catalogs, mine, shown))

    for account, name, found in (
        ("a", "style", mine),
        ("a", "1", mine),
        ("a", "cf-public-style", catalogs),
        ("b", "style", catalogs),
        ("b", "shown", shown),
        ("a", "cf-public-shown", shown),
        ("a", "2", shown),
        ("a", "shown", None),  # by its own name for its account alone
        ("b", "1", None),
    ):
        assert world.finetune(name, account=account) == found, (account, name)
    world.apply(put(2, deletes=(Ref("finetune", "1"),)))
    assert world.finetune("style", account="a") == catalogs


def test_tables_and_queries() -> None:
    world = World()
    here = Instance(id="i", model="m", colo="ams", node="n")
    assigned = Assignment(node="n", model="m", instances=1)
    world.apply(complete(here, Instance(id="j", model="m", colo="lhr"), assigned))

    assert world.instances(model="m", colo="ams") == [here]
    assert world.assignments(node="n") == [assigned]
    assert world.get(Ref("instance", "i")) == here
    assert world.get(Ref("nonsense", "i")) is None


def test_a_complete_update_forgets_what_was() -> None:
    world = World()
    world.apply(complete(Account(id="a")))

    world.apply(complete(Account(id="b"), version=7))

    assert world.table(Account).keys() == {"b"}
    assert world.everything() == complete(Account(id="b"), version=7)


async def test_until_sees_each_change_and_listeners_hear_it() -> None:
    world = World()
    heard: list[Update] = []
    world.listen(heard.append)
    waiting = asyncio.create_task(world.until(lambda world: "b" in world.table(Account)))

    await asyncio.sleep(0)
    world.apply(complete(Account(id="a")))
    await asyncio.sleep(0)
    assert not waiting.done()
    world.apply(put(2, Account(id="b")))
    await asyncio.wait_for(waiting, 1)

    assert [each.version for each in heard] == [1, 2]


async def test_follow_goes_on_over_lost_connections(caplog: pytest.LogCaptureFixture) -> None:
    away = Unavailable("away")
    control = FakeControl(
        [complete(Account(id="a")), away],
        [away],
        [away],
        [],
        [complete(Account(id="a"), Account(id="b"), version=9)],
    )
    world = World()

    with caplog.at_level(logging.WARNING):
        async with background(follow(control, world, backoff=QUICK), name="w"):
            await until(lambda: world.version == 9)

    assert world.table(Account).keys() == {"a", "b"}
    assert len(caplog.records) == 1  # an outage is told once


async def test_follow_starts_from_disk_and_saves_what_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(world_module, "SAVE_EVERY_S", 0.01)
    load = ShardLoad(model="m", colo="ams", index=0, server="s")
    disk = FakeDisk(complete(Account(id="old")))
    control = FakeControl(
        [Unavailable("away")], [complete(Account(id="new"), version=2), put(3, load)]
    )
    world = World()

    async with background(follow(control, world, disk=disk, backoff=QUICK), name="w"):
        await asyncio.sleep(0)
        assert world.table(Account).keys() == {"old"}
        await until(lambda: disk.saves == 1)
        await asyncio.sleep(0.05)

    assert disk.kept is not None
    assert disk.kept.puts[0] == Account(id="new")
    assert disk.saves == 1  # not for the load


async def test_a_change_just_before_the_end_is_saved_too() -> None:
    disk = FakeDisk()
    control = FakeControl([complete(), put(2, Account(id="a")), put(3, Account(id="b"))])
    control.connections.append([])
    world = World()

    async with background(follow(control, world, disk=disk, backoff=QUICK), name="w"):
        await until(lambda: world.version == 3)

    assert disk.kept == world.everything()


async def test_a_full_disk_does_not_stop_following() -> None:
    disk = FakeDisk(error=OSError(28, "no space left"))
    control = FakeControl([complete()], [complete(Account(id="a"), version=2)])
    world = World()

    async with background(follow(control, world, disk=disk, backoff=QUICK), name="w"):
        await until(lambda: disk.saves > 0 and world.version == 2)


async def test_reports_go_on_after_errors_of_any_kind() -> None:
    control = FakeControl()
    control.report_errors = [Unavailable("away"), BadInput("no such colo")]
    report = Report(kind="entry", name="e", colo="ams", resources=())

    async with background(
        keep_reporting(control, lambda: report, every_s=0.01, backoff=QUICK), name="r"
    ):
        await until(lambda: len(control.reports) >= 5)

    assert control.goodbyes == 0


async def test_a_wake_while_a_report_is_made_is_not_lost() -> None:
    control = FakeControl()
    wake, leave = asyncio.Event(), asyncio.Event()
    made: list[int] = []

    def make_report() -> Report:
        made.append(len(made))
        if len(made) == 1:
            wake.set()  # something changes while the report is being made
        return Report(kind="entry", name=str(len(made)), colo="ams", resources=())

    reporting = keep_reporting(
        control, make_report, every_s=60, wake=wake, leave=leave, backoff=QUICK
    )
    async with background(reporting, name="r") as task:
        await until(lambda: len(control.reports) == 2)
        leave.set()
        await asyncio.wait_for(asyncio.shield(task), 1)

    assert control.goodbyes == 1


async def test_leaving_while_control_is_away_does_not_hang() -> None:
    control = FakeControl()
    leave = asyncio.Event()
    slow = Backoff(first_s=60, most_s=60)
    report = Report(kind="entry", name="e", colo="ams", resources=())
    control.report_errors = [Unavailable("away")]

    async with background(
        keep_reporting(control, lambda: report, leave=leave, backoff=slow), name="r"
    ) as task:
        await until(lambda: bool(control.reports))
        leave.set()
        await asyncio.wait_for(asyncio.shield(task), 1)


async def test_who_is_woken_all_the_time_reports_no_more_than_it_may() -> None:
    control = FakeControl()
    wake = asyncio.Event()
    report = Report(kind="entry", name="e", colo="ams", resources=())
    reporting = keep_reporting(
        control, lambda: report, every_s=60, pause_s=0.05, wake=wake, backoff=QUICK
    )

    began = asyncio.get_running_loop().time()
    async with background(reporting, name="r"):
        for _ in range(60):
            wake.set()
            await asyncio.sleep(0.005)

    took_s = asyncio.get_running_loop().time() - began
    assert 3 <= len(control.reports) <= took_s / 0.05 + 2
