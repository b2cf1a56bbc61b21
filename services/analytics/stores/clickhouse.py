"""Events in a ClickHouse, by its address: for many machines, and questions over months.

What makes repetition harmless: `inference_events` is a ReplacingMergeTree whose key ends with the
event's identity, and everything that reads it does so with FINAL. So an insert that failed, or of
which nobody knows whether it did, is made again with whatever boundaries its batches then have;
rows that are there twice are read once, and become one when ClickHouse merges their parts. Any
number of analytics can write to one database. What this one has written it remembers, and leaves
out when it comes again; nothing depends on that. An insert is acknowledged when its rows are on
the disk of the ClickHouse that took it.

Usage over a long time comes from a roll-up by the hour (see clickhouse_rollup.py), of the same
requests as from the events themselves. Sums and counts are exact; percentiles are a request's
value, less 0.8 % at most, from either.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Event
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from clickhouse_connect.driver.client import Client

from libs.common.events.values import Batch
from libs.common.usage import RecentQuery, RecordedEvent, UsageGroup, UsageQuery, UsageRow
from services.analytics.ports import StoreError
from services.analytics.stores.clickhouse_client import StoreAway, translated
from services.analytics.stores.clickhouse_hours import RolledUp, sources
from services.analytics.stores.clickhouse_recent import LATEST, recent_statement, windows
from services.analytics.stores.clickhouse_rollup import RollUp, roll_up, rolled_up
from services.analytics.stores.clickhouse_rows import table
from services.analytics.stores.clickhouse_tables import Retention, prepare
from services.analytics.stores.clickhouse_usage import fields_of, statement
from services.analytics.stores.columns import Fresh, Source, fresh
from services.analytics.stores.recent_rows import recorded

log = logging.getLogger(__name__)
T = TypeVar("T")

# An insert takes no longer than we wait for it, so what is to be read of it is soon settled.
WRITING = {"async_insert": 0, "throw_on_max_partitions_per_insert_block": 0}


class Address(Protocol):
    """Where a ClickHouse is."""

    def connect(self, *, seconds: float, create: bool = False) -> Client:
        """Return a client whose calls take so long at most. Raises StoreError."""
        ...


class ClickHouseStore:
    """An async context manager; entering it raises StoreError, unless ClickHouse is only away.

    A thread with a connection of its own writes, one reads, and one rolls up.
    """

    def __init__(
        self,
        address: Address,
        *,
        retention: Retention | None = None,
        roll_up: RollUp | None = None,
        write_seconds: float = 30.0,
        query_seconds: float = 30.0,
    ) -> None:
        self._address = address
        self._retention = retention or Retention()
        self._roll_up = roll_up or RollUp()
        self._query_seconds = query_seconds
        self._writing_settings = WRITING | {"max_execution_time": math.ceil(write_seconds)}
        self._reading_settings = {"max_execution_time": math.ceil(query_seconds)}
        self._writing = _Lane(address, name="write", seconds=write_seconds, create=True)
        self._reading = _Lane(address, name="read", seconds=query_seconds)
        self._rolling = _Lane(address, name="roll up", seconds=3600.0)
        self._watermarks: dict[Source, int] = {}  # of what this one has written
        self._preparing = asyncio.Lock()
        self._is_prepared = False
        self._stop = Event()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<ClickHouseStore {self._address} {'ready' if self._is_prepared else 'away'}>"

    async def __aenter__(self) -> Self:
        self._stop.clear()
        try:
            await self._prepare()
        except StoreAway as error:
            log.warning("%s; events wait for it", error)
        if self._roll_up.every_seconds:
            self._task = asyncio.create_task(self._keep_rolled_up(), name="events by the hour")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for lane in (self._rolling, self._reading, self._writing):
            await lane.close()

    async def write(self, batches: Sequence[Batch]) -> None:
        """Keep the batches; what of them is there already is kept once."""
        new = fresh(batches, self._watermarks)
        await self._prepare()
        await self._change(partial(self._write, new))
        self._watermarks |= new.watermarks

    async def usage(self, query: UsageQuery, *, max_rows: int) -> list[UsageRow]:
        """Return the rows, in the order of their groups."""
        return await self._ask(partial(self._usage, query, max_rows))

    async def recent(self, query: RecentQuery) -> list[RecordedEvent]:
        """Return the last attempts, the last one first."""
        return await self._ask(partial(self._recent, query))

    async def roll_up_now(self) -> None:
        """Roll up all that is settled, whenever it was done last."""
        await self._prepare()
        work = partial(roll_up, policy=self._roll_up, stop=self._stop, more=True)
        while await self._rolling.do(work):
            pass

    async def _ask(self, work: Callable[[Client], T]) -> T:
        async with asyncio.timeout(self._query_seconds):
            await self._prepare()
            return await self._reading.do(work)

    async def _prepare(self) -> None:
        """Make the tables what they are to be, once."""
        async with self._preparing:
            if not self._is_prepared:
                await self._change(partial(prepare, retention=self._retention))
                self._is_prepared = True

    async def _change(self, work: Callable[[Client], None]) -> None:
        try:
            await self._writing.do(work)
        except TimeoutError as error:
            raise StoreAway(f"ClickHouse at {self._address} is slow: {error}") from error

    async def _keep_rolled_up(self) -> None:
        more = False
        while True:
            try:
                await self._prepare()
                work = partial(roll_up, policy=self._roll_up, stop=self._stop, more=more)
                more = await self._rolling.do(work)
            except (StoreError, TimeoutError) as error:
                more = False
                log.warning("hours are not rolled up, trying again later: %s", error)
            if not more:
                await asyncio.sleep(self._roll_up.every_seconds)

    def _write(self, new: Fresh, client: Client) -> None:
        for name, columns in zip(
            ("inference_events", "lifecycle_events"), new.columns(), strict=True
        ):
            if columns:
                rows = table(name, columns)
                client.insert(
                    rows.name,
                    rows.columns,
                    column_names=rows.names,
                    column_type_names=rows.types,
                    column_oriented=True,
                    settings=self._writing_settings,
                )

    def _usage(self, query: UsageQuery, max_rows: int, client: Client) -> list[UsageRow]:
        known = rolled_up(client, self._roll_up)
        if UsageGroup.MINUTE in query.group_by:  # of which the roll-up knows only the hour
            known = RolledUp(
                through_ms=min(known.through_ms, known.kept_from_ms),
                kept_from_ms=known.kept_from_ms,
            )
        where = sources(query.from_ms, query.to_ms, rolled_up=known)
        sql, parameters = statement(query, sources=where, max_rows=max_rows)
        found = client.query(sql, parameters=parameters, settings=self._reading_settings)
        return [UsageRow(**fields_of(found.column_names, row)) for row in found.result_rows]

    def _recent(self, query: RecentQuery, client: Client) -> list[RecordedEvent]:
        ((latest_ms,),) = client.query(LATEST).result_rows
        if query.before is not None:
            latest_ms = min(latest_ms, query.before.timestamp_ms)
        rows: Sequence[Any] = ()
        for from_ms in windows(latest_ms):
            sql, parameters = recent_statement(query, from_ms=from_ms)
            found = client.query(sql, parameters=parameters, settings=self._reading_settings)
            rows = found.result_rows
            if len(rows) >= query.limit:
                break
        return recorded(rows)


class _Lane:
    """A thread with a connection, which is made when it is needed, and anew after a failure."""

    def __init__(
        self, address: Address, *, name: str, seconds: float, create: bool = False
    ) -> None:
        self._address = address
        self._connect = partial(address.connect, seconds=seconds, create=create)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"clickhouse {name}")
        self._client: Client | None = None

    async def do(self, work: Callable[[Client], T]) -> T:
        """Do the work in the thread. Raises StoreError, TimeoutError."""
        return await asyncio.wrap_future(self._thread.submit(self._do, work))

    async def close(self) -> None:
        """End the thread after what it does."""
        await asyncio.wrap_future(self._thread.submit(self._drop))
        self._thread.shutdown(wait=False)

    def _do(self, work: Callable[[Client], T]) -> T:
        if self._client is None:
            self._client = self._connect()
        try:
            with translated(self._address):
                return work(self._client)
        except (StoreError, TimeoutError):
            self._drop()
            raise

    def _drop(self) -> None:
        if self._client is not None:
            with suppress(Exception):
                self._client.close()
        self._client = None
