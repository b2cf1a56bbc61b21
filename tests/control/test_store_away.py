"""A store on PostgreSQL that cuts its connections, is away, or is locked by one that hangs."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from libs.common import databases
from libs.common.clock import SystemClock
from libs.common.errors import Unavailable
from libs.common.world_map import Account
from services.control.lease import Lease, LeaseLost
from services.control.store import SqlStore, metadata
from tests.postgres import PostgreSQL
from tests.waiting import until

pytestmark = [
    pytest.mark.xdist_group("postgresql"),
    # pg8000 forgets its socket where the other end has closed it before
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
LEASE_S, TRY_S = 1.5, 0.1
LONG_LEASE_S = 15.0  # which no cut alone may cost, however busy the machine is
Told = Callable[[str, object], None]


@pytest.fixture
def database(postgresql: PostgreSQL) -> Iterator[str]:
    """The name of an empty one."""
    with postgresql.database() as name:
        yield name
        gc.collect()


class Contender:
    """A control's hold on the lease: stands by again once it has lost it, and writes meanwhile."""

    def __init__(self, url: str, name: str, lease_s: float) -> None:
        self.name = name
        self._lease_s = lease_s
        self.is_active = False
        self.written = 0
        self.refused = 0
        self._store = SqlStore(url)

    async def run(self) -> None:
        try:
            while True:
                await self._try_to_be_active()
                await asyncio.sleep(TRY_S)
        finally:
            await self._store.close()

    async def _try_to_be_active(self) -> None:
        clock = SystemClock()
        lease = Lease(
            self._store, holder=self.name, lease_s=self._lease_s, try_s=TRY_S, clock=clock
        )
        try:
            await self._store.open()
            async with lease.held():
                self.is_active = True
                await self._write()
        except (LeaseLost, Unavailable):
            pass
        finally:
            self.is_active = False

    async def _write(self) -> None:
        while True:
            try:
                await self._store.write([Account(id=self.name, name=str(self.written + 1))])
                self.written += 1
            except Unavailable:
                self.refused += 1
            await asyncio.sleep(0.02)


@asynccontextmanager
async def contenders(
    url: str, lease_s: float = LEASE_S
) -> AsyncIterator[tuple[Contender, Contender]]:
    """Two of them; at no time may both be active."""
    found = Contender(url, "a", lease_s), Contender(url, "b", lease_s)

    async def watch() -> None:
        while True:
            assert not all(each.is_active for each in found)
            await asyncio.sleep(0.005)

    tasks = [asyncio.create_task(each.run()) for each in found]
    tasks.append(asyncio.create_task(watch()))
    try:
        await until(lambda: any(each.is_active for each in found), 10)
        yield found
        assert not any(each.done() for each in tasks)
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_cut_connections_cost_nothing_but_what_was_being_said(
    postgresql: PostgreSQL, database: str, told: Told
) -> None:
    async with contenders(postgresql.url(database), LONG_LEASE_S) as found:
        first = next(each for each in found if each.is_active)
        for _ in range(10):
            before = first.written
            await until(lambda: postgresql.connections(database) == 2)
            postgresql.cut(database)
            await until(lambda before=before: first.written > before + 3, LONG_LEASE_S)  # type: ignore[misc]
        refused = first.refused
        told("control's connections to PostgreSQL cut 10 times", f"{refused} writes refused")

        assert first.is_active
        assert refused <= 10


@pytest.mark.parametrize("away_s", [0.5, 2 * LEASE_S])
async def test_a_server_that_stops_and_comes_back_has_one_active_again(
    postgresql: PostgreSQL, database: str, told: Told, away_s: float
) -> None:
    async with contenders(postgresql.url(database)) as found:
        before = sum(each.written for each in found)
        postgresql.stop()
        try:
            await asyncio.sleep(away_s)
            written = {each.name: each.written for each in found}
        finally:
            await asyncio.to_thread(postgresql.start)
        back = time.monotonic()
        await until(lambda: sum(each.written for each in found) > sum(written.values()), 10)
        took = time.monotonic() - back
        told(f"PostgreSQL away for {away_s:g} s", f"written again {took:.1f} s after")

        assert sum(written.values()) <= before + 1
        assert took < LEASE_S + 2
    kept = SqlStore(postgresql.url(database))
    names = {each.id: int(each.name) for each in await kept.open() if isinstance(each, Account)}
    await kept.close()
    # What was confirmed is there; what was cut off may be, too.
    assert all(names.get(each.name, 0) - each.written in (0, 1) for each in found)


async def test_one_that_hangs_in_a_transaction_keeps_nobody_out(
    postgresql: PostgreSQL, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "IDLE_S", 0.5)
    url = postgresql.url(database)
    store = SqlStore(url)
    assert await store.take_lease(await store.lease(), "a")
    hanging = databases.opened(url, metadata, sqlite="FULL")
    with hanging.connect() as connection:
        connection.exec_driver_sql("update leases set beat = beat + 1")
        began = time.monotonic()

        async with asyncio.timeout(5):
            await store.stand_by()
            assert await store.take_lease(await store.lease(), "b")
        assert 0.3 < time.monotonic() - began < 3
        connection.invalidate()
    hanging.dispose()
    await store.close()
