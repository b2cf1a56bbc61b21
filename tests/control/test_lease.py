"""One control is active at any time, whichever of them are stopped, cut off or killed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from libs.common.databases import sqlite_url
from libs.common.errors import Unavailable
from libs.common.world_map import Account
from services.control.lease import LAST_TRY, Lease, LeaseLost
from services.control.ports import LeaseRow
from services.control.store import SqlStore, metadata
from tests.virtual_time import VirtualClock, now, run

LEASE_S, TRY_S = 5.0, 1.0


@dataclass
class Table:
    """What all of them share."""

    row: LeaseRow = field(default_factory=LeaseRow)
    writes: list[tuple[float, str]] = field(default_factory=list)


class Connection:
    """One control's way to the table, which may be cut or slow."""

    def __init__(self, table: Table, name: str) -> None:
        self.table = table
        self.name = name
        self.is_cut = False
        self.delay_s = 0.0
        self.term = 0

    async def _reach(self) -> None:
        await asyncio.sleep(self.delay_s)
        if self.is_cut:
            raise Unavailable("cut off")

    async def lease(self) -> LeaseRow:
        await self._reach()
        return self.table.row

    async def take_lease(self, seen: LeaseRow, holder: str) -> bool:
        await self._reach()
        row = self.table.row
        if (row.term, row.beat) != (seen.term, seen.beat):
            return False
        self.term = row.term + 1
        self.table.row = replace(row, holder=holder, term=self.term, beat=0)
        return True

    async def renew_lease(self) -> LeaseRow | None:
        await self._reach()
        if self.table.row.term != self.term:
            return None
        self.table.row = replace(self.table.row, beat=self.table.row.beat + 1)
        return self.table.row

    async def stand_by(self) -> None:
        await self._reach()
        self.table.row = replace(self.table.row, waiting=self.table.row.waiting + 1)

    async def release_lease(self) -> None:
        await self._reach()
        if self.table.row.term == self.term:
            self.table.row = replace(self.table.row, holder="", term=self.term + 1)

    async def write(self) -> None:
        """Write as a store does: for the own term alone."""
        if await self.renew_lease() is not None:
            self.table.writes.append((now(), self.name))


class Contender:
    """A control that is active while it holds the lease, and stands by again once it is lost."""

    def __init__(self, table: Table, name: str) -> None:
        self.connection = Connection(table, name)
        self.name = name
        self.is_active = False
        self.since: list[float] = []
        self.lost: list[str] = []
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self._run())

    async def kill(self) -> None:
        """End it as kill -9 does: nothing is given back."""
        self.connection.is_cut = True
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.connection = Connection(self.connection.table, self.name)
        self.is_active = False

    async def _run(self) -> None:
        while True:
            try:
                self.lease = self._lease()
                async with self.lease.held():
                    self.is_active = True
                    self.since.append(now())
                    await asyncio.Event().wait()
            except LeaseLost as error:
                self.lost.append(str(error))
            finally:
                self.is_active = False

    def _lease(self) -> Lease:
        return Lease(
            self.connection,
            holder=self.name,
            lease_s=LEASE_S,
            try_s=TRY_S,
            clock=VirtualClock(),
        )


@asynccontextmanager
async def contenders(*names: str) -> AsyncIterator[list[Contender]]:
    table = Table()
    found = [Contender(table, name) for name in names]
    for each in found:
        each.start()
        await asyncio.sleep(0.1)
    try:
        yield found
    finally:
        for each in found:
            await each.kill()


def in_virtual_time(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def ran() -> None:
        run(test())  # type: ignore[arg-type]

    ran.__name__, ran.__doc__ = test.__name__, test.__doc__
    return ran


@in_virtual_time
async def test_the_first_is_active_at_once_and_the_other_stands_by() -> None:
    async with contenders("a", "b") as (a, b):
        await asyncio.sleep(60)

        assert (a.is_active, b.is_active) == (True, False)
        assert a.since == [0.0]


@in_virtual_time
async def test_a_killed_one_is_replaced_within_the_leases_time_and_a_try() -> None:
    async with contenders("a", "b") as (a, b):
        await asyncio.sleep(20)
        await a.kill()
        died = now()
        await asyncio.sleep(20)

        assert b.is_active
        assert b.since[0] - died <= LEASE_S + 2 * TRY_S


@in_virtual_time
async def test_one_that_is_back_under_its_name_waits_for_nobody() -> None:
    async with contenders("a") as (a,):
        await asyncio.sleep(20)
        await a.kill()
        a.start()
        await asyncio.sleep(0.1)

        assert a.is_active


@in_virtual_time
async def test_one_that_leaves_gives_the_lease_back() -> None:
    async with contenders("a", "b") as (a, b):
        await asyncio.sleep(20)
        assert a.task is not None
        a.task.cancel()
        left = now()
        await asyncio.sleep(10)

        assert b.since[0] - left <= 2 * TRY_S


@in_virtual_time
async def test_one_that_is_cut_off_alone_goes_on() -> None:
    async with contenders("a") as (a,):
        await asyncio.sleep(20)
        a.connection.is_cut = True
        await asyncio.sleep(600)
        assert a.is_active
        a.connection.is_cut = False
        await asyncio.sleep(10)

        assert a.is_active
        assert a.lost == []


@in_virtual_time
async def test_one_that_is_cut_off_while_another_stands_by_ends_before_that_begins() -> None:
    async with contenders("a", "b") as (a, b):
        await asyncio.sleep(20)
        a.connection.is_cut = True
        while not b.is_active:
            await asyncio.sleep(0.01)
            assert not (a.is_active and b.is_active)

        assert a.lost == ["the lease could not be renewed, and another stands by"]


@in_virtual_time
async def test_a_store_that_does_not_answer_is_as_one_that_is_away() -> None:
    async with contenders("a", "b") as (a, b):
        await asyncio.sleep(20)
        a.connection.delay_s = 1000.0
        await asyncio.sleep(20)

        assert b.is_active
        assert not a.is_active


@in_virtual_time
async def test_what_was_stopped_and_lost_the_lease_writes_nothing_more() -> None:
    table = Table()
    a, b = Connection(table, "a"), Connection(table, "b")
    assert await a.take_lease(await a.lease(), "a")
    await a.write()

    assert await b.take_lease(await b.lease(), "b")  # a was stopped meanwhile
    await b.write()
    await a.write()

    assert [name for _, name in table.writes] == ["a", "b"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_no_two_are_active_that_know_of_each_other_and_soon_one_is(
    seed: int,
) -> None:
    run(_whatever(random.Random(seed)))


async def _whatever(rng: random.Random) -> None:
    async with contenders("a", "b", "c") as found:
        watching = asyncio.create_task(_never_two(found))
        dead: set[str] = set()
        for _ in range(20):
            each = rng.choice(found)
            if each.name in dead:
                each.start()
                dead.discard(each.name)
            elif (what := rng.randrange(3)) == 0 and len(dead) < 2:
                await each.kill()
                dead.add(each.name)
            elif what == 1:
                each.connection.is_cut = not each.connection.is_cut
            else:
                each.connection.delay_s = rng.choice([0.0, 0.5, 3.0])
            await asyncio.sleep(rng.uniform(0.0, 12.0))
        for each in found:
            each.connection.is_cut, each.connection.delay_s = False, 0.0
        await asyncio.sleep(20)
        assert sum(each.is_active for each in found) == 1
        assert not watching.done(), watching.exception()
        watching.cancel()


async def _never_two(found: list[Contender]) -> None:
    together_s = 0.0
    while True:
        # nobody stood by when it was cut off: it answers on, and writes nothing
        active = [each for each in found if each.is_active and each.lease._is_watched]
        together_s = together_s + 0.05 if len(active) > 1 else 0.0
        assert together_s <= LEASE_S * LAST_TRY + 0.1, [each.name for each in active]
        newest = found[0].connection.table.row.term
        assert sum(each.is_active and each.connection.term == newest for each in found) <= 1
        await asyncio.sleep(0.05)


@in_virtual_time
async def test_one_that_was_slow_itself_asks_before_it_gives_up() -> None:
    async with contenders("a", "b") as (a, _):
        await asyncio.sleep(20)
        a.lease._valid_until = 0.0
        await asyncio.sleep(10)

        assert a.is_active


async def test_the_store_gives_the_lease_to_one_and_fences_the_other(database_url: str) -> None:
    first, second = SqlStore(database_url), SqlStore(database_url)
    seen = await first.lease()
    assert seen == await second.lease() == LeaseRow()

    assert [await each.take_lease(seen, "x") for each in (first, second)] == [True, False]
    await first.stand_by()
    row = await first.renew_lease()
    assert row is not None
    assert (row.holder, row.term, row.waiting) == ("x", 1, 1)
    await first.open()
    await first.write([Account(id="a", name="first")])

    assert await second.take_lease(await second.lease(), "y")
    assert await first.renew_lease() is None
    with pytest.raises(Unavailable, match="another control is active by now"):
        await first.write([Account(id="a", name="late")])
    with pytest.raises(Unavailable, match="another control is active by now"):
        await first.keep_stays([], seen_ts=1)
    assert await second.open() == [Account(id="a", name="first")]

    await second.release_lease()
    await first.release_lease()
    assert (await first.lease()).holder == ""
    with pytest.raises(Unavailable):
        await second.write([Account(id="a", name="later still")])
    await first.close()
    await second.close()


async def test_many_at_once_take_it_once(tmp_path: Path) -> None:
    stores = [SqlStore(sqlite_url(tmp_path / "control.db")) for _ in range(8)]
    for _ in range(3):
        seen = await stores[0].lease()
        taken = await asyncio.gather(*(each.take_lease(seen, "x") for each in stores))
        assert sum(taken) == 1
    for each in stores:
        await each.close()
    assert set(metadata.tables) == {"leases", "resources", "stays"}
