"""Events in a DuckDB file: the default store.

DuckDB locks its file, so one process owns it. One thread writes, and one
reads through a second connection, so the loop waits for neither. Hours that
are over are rolled up in the background, and what is too old leaves.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self, TypeVar

import duckdb

from libs.common.clock import Clock, SystemClock
from libs.common.events.values import Batch
from libs.common.usage import RecentQuery, RecordedEvent, UsageQuery, UsageRow
from services.analytics.ports import StoreError
from services.analytics.stores import duckdb_rollup as rollup
from services.analytics.stores.columns import Source, fresh, watermark_columns
from services.analytics.stores.duckdb_copy import copy_open
from services.analytics.stores.duckdb_hours import HourBook, Keeping
from services.analytics.stores.duckdb_insert import insert
from services.analytics.stores.duckdb_recent import recent_statement
from services.analytics.stores.duckdb_schema import MIGRATIONS, VERSION_TABLE
from services.analytics.stores.duckdb_usage import Hours, usage_rows
from services.analytics.stores.recent_rows import recorded

T = TypeVar("T")

log = logging.getLogger(__name__)
# DuckDB's file has groups of 122,880 rows, one or more for each time that the log comes into it.
# Those that others would fill are written anew then. So the log is left to grow to nearly a group:
# one write more might be beyond it. Or it is worth it after a minute, or its events are long.
NEARLY_A_GROUP, MOST_LOGGED, WORTH_BYTES = 100_000, "128MB", 4 << 20
STOP_TRIES, STOP_SECONDS = 100, 0.05  # of a question, before the file is closed
CACHED_WRITES = 300  # after so many, a minute's under load, the cache of the file is given back
# In place: a row that is replaced stays in memory as long as the file is open.
RAISE = """
    UPDATE watermarks SET last_sequence = ? WHERE server = ? AND boot_epoch = ? AND partition = ?
"""


class DuckDBStore:
    """An async context manager: the file is open inside. Raises StoreError.

    A failed write closes the connection, since DuckDB may refuse everything
    after one; the next write opens it again and reads anew what is there.
    """

    def __init__(
        self,
        path: Path,
        *,
        memory_mb: int = 512,
        threads: int = 2,
        query_seconds: float = 30.0,
        keeping: Keeping | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._path = path
        self._settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_mb}MB",
            "threads": threads,
            "checkpoint_threshold": MOST_LOGGED,
            "autoinstall_known_extensions": False,  # it would download them
            "autoload_known_extensions": False,
        }
        self._memory = f"{memory_mb}MB"
        self._query_seconds = query_seconds
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="events-write")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="events-read")
        self._one_query = asyncio.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._reader: duckdb.DuckDBPyConnection | None = None
        self._asked: duckdb.DuckDBPyConnection | None = None  # the reader that has a question
        self._in_use = Lock()  # by that question
        self._watermarks: dict[Source, int] = {}
        self._identity = ""
        self._writes = 0
        self._logged = 0  # events, as far as is known
        self._keeping = keeping or Keeping()
        self._clock = clock or SystemClock()
        self._hours = HourBook(opened=(), rolled=())
        self._has_leavings = True  # parts that do not count, as far as is known
        self._upkeep: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<DuckDBStore {self._path.name} {'open' if self._connection else 'closed'}>"

    @property
    def identity(self) -> str:
        """Return what tells this file from others, once it has been open."""
        return self._identity

    async def __aenter__(self) -> Self:
        await asyncio.wrap_future(self._writing.submit(self._open))
        self._upkeep = asyncio.create_task(self._look_after(), name="upkeep of events")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            self._interrupt()
            await asyncio.wait([self._upkeep])
        self._interrupt()
        await asyncio.wrap_future(self._reading.submit(lambda: None))
        await asyncio.wrap_future(self._writing.submit(self._close))
        self._reading.shutdown(wait=False)
        self._writing.shutdown(wait=False)

    async def write(self, batches: Sequence[Batch]) -> None:
        """Keep what is new of the batches, all in one transaction."""
        await asyncio.wrap_future(self._writing.submit(self._write, batches))
        if self._logged >= NEARLY_A_GROUP:
            await self._write_with(self._empty_log)
        self._writes += 1
        if self._writes >= CACHED_WRITES and not self._one_query.locked():
            self._writes = 0
            async with self._one_query:  # it would find no memory meanwhile
                await asyncio.wrap_future(self._writing.submit(self._drop_cache))

    async def usage(self, query: UsageQuery, *, max_rows: int) -> list[UsageRow]:
        """Return the rows; TimeoutError when they take too long."""
        return await self._ask(lambda reader: _usage(reader, query, max_rows))

    async def recent(self, query: RecentQuery) -> list[RecordedEvent]:
        """Return the last attempts; TimeoutError when they take too long."""
        return await self._ask(
            lambda reader: recorded(reader.execute(*recent_statement(query)).fetchall())
        )

    async def copy(self, to: Path, *, seconds: float) -> None:
        """Copy the file, with all that is written; nothing is written or asked meanwhile."""

        def work(connection: duckdb.DuckDBPyConnection) -> None:
            copy_open(connection, self._path, to, seconds)

        async with self._one_query:
            await self._write_with(work)

    async def upkeep(self, now_ms: int) -> None:
        """Roll up the hours that are over, and let go of what is too old.

        A step at a time, so that writes and questions come in between.
        """
        for hour in await self._write_with(lambda _: self._hours.due(now_ms)):
            async with self._one_query:
                await self._roll(hour)
        keeping = self._keeping
        before = keeping.events_before(now_ms), keeping.usage_before(now_ms)
        past = await self._write_with(lambda _: self._hours.past(before[0]))
        for hour in past:
            await self._write_with(partial(self._seal, hour))
        async with self._one_query:
            await self._write_with(lambda connection: self._tidy(connection, *before, bool(past)))

    async def _roll(self, hour: int) -> None:
        """Make an hour's part; it counts if nothing has come for the hour meanwhile."""
        hours = self._hours
        await self._write_with(lambda _: hours.make(hour))
        self._has_leavings = True
        part = await self._read_with(lambda reader: rollup.make_part(reader, hour))

        def count(connection: duckdb.DuckDBPyConnection) -> None:
            if self._hours is hours and hours.is_made(hour):
                rollup.count_part(connection, part, hour)
                hours.roll(hour)

        await self._write_with(count)

    def _seal(self, hour: int, connection: duckdb.DuckDBPyConnection) -> None:
        if hour in self._hours.rolled:
            rollup.seal(connection, hour)
            self._hours.rolled.discard(hour)

    def _tidy(
        self,
        connection: duckdb.DuckDBPyConnection,
        events_before: int,
        usage_before: int,
        is_dirty: bool,
    ) -> None:
        """Remove what is too old or does not count, and give its room in the file back."""
        is_dirty |= rollup.forget_lifecycles(connection, events_before)
        is_dirty |= rollup.forget_usage(connection, usage_before)
        if self._has_leavings:
            is_dirty |= rollup.sweep(connection)
            self._has_leavings = False
        if is_dirty or self._logged_bytes() >= WORTH_BYTES:
            self._empty_log(connection)

    def _empty_log(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Bring what is logged into the file, unless an hour is just being rolled up."""
        with suppress(duckdb.TransactionException):
            connection.execute("CHECKPOINT")
            self._logged = 0

    def _logged_bytes(self) -> int:
        """Return the size of the log, whose rows are in memory, too."""
        with suppress(FileNotFoundError):
            return self._path.with_name(f"{self._path.name}.wal").stat().st_size
        return 0

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(self._keeping.every_s)
            try:
                await self.upkeep(self._clock.unix_ms())
            except StoreError as error:
                log.warning("old events are left as they are for now: %s", error)
            except Exception:
                log.exception("old events are left as they are for now")

    async def _ask(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        async with self._one_query:
            try:
                async with asyncio.timeout(self._query_seconds):
                    return await self._read_with(work)
            except (TimeoutError, asyncio.CancelledError):
                self._interrupt()
                raise

    async def _read_with(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Do something by the connection that reads, which has one thing to do at a time."""
        return await asyncio.wrap_future(self._reading.submit(self._read, work))

    async def _write_with(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Do something between two writes."""
        return await asyncio.wrap_future(self._writing.submit(self._between_writes, work))

    def _between_writes(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        connection = self._open()
        try:
            return work(connection)
        except duckdb.Error as error:
            self._close()
            raise StoreError(_line(self._path, error)) from error

    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._connection is not None:
            return self._connection
        try:
            self._connection = duckdb.connect(str(self._path), config=self._settings)
            _migrate(self._connection)
            rows = self._connection.execute("SELECT * FROM watermarks").fetchall()
            identity = self._connection.execute("SELECT id FROM identity").fetchall()
            self._hours = HourBook(
                opened=rollup.open_hours(self._connection),
                rolled=rollup.rolled_hours(self._connection),
            )
            self._has_leavings = True
            self._reader = self._connection.cursor()
            for each in (self._connection, self._reader):  # else slow questions draw on the screen
                each.execute("SET enable_progress_bar = false")
        except duckdb.Error as error:
            self._close()
            line = _line(self._path, error)
            why = line if str(self._path) in line else f"{self._path}: {line}"
            raise StoreError(why) from error
        except StoreError:
            self._close()
            raise
        self._watermarks = {row[:3]: row[3] for row in rows}
        ((self._identity,),) = identity
        return self._connection

    def _close(self) -> None:
        """Close both connections, whose question is stopped first: one in use cannot be closed."""
        is_free = False
        for _ in range(STOP_TRIES):
            self._interrupt()  # again: the last one may have come between two statements
            if is_free := self._in_use.acquire(timeout=STOP_SECONDS):
                break
        try:
            self._close_both()
        finally:
            if is_free:
                self._in_use.release()

    def _close_both(self) -> None:
        for connection in (self._reader, self._connection):
            if connection is not None:
                with suppress(duckdb.Error):
                    connection.close()
        self._connection = self._reader = None

    def _write(self, batches: Sequence[Batch]) -> None:
        connection = self._open()
        new = fresh(batches, self._watermarks)
        if not new.watermarks:
            return
        try:
            inferences, lifecycles = new.columns()
            change = self._hours.change(inferences)
            connection.begin()
            rollup.add_open(connection, change.opened, change.reopened)
            insert(connection, "inference_events", inferences)
            insert(connection, "lifecycle_events", lifecycles)
            begun = {k: v for k, v in new.watermarks.items() if k not in self._watermarks}
            raised = [(v, *k) for k, v in new.watermarks.items() if k in self._watermarks]
            insert(connection, "watermarks", watermark_columns(begun))
            if raised:
                connection.executemany(RAISE, raised)
            connection.commit()
        except duckdb.Error as error:
            self._close()
            raise StoreError(_line(self._path, error)) from error
        self._watermarks |= new.watermarks
        self._logged += sum(len(batch.events) for batch, _ in new.batches)
        self._hours.apply(change)
        self._has_leavings |= bool(change.reopened)

    def _drop_cache(self) -> None:
        """Free what DuckDB caches of the file, up to all of its memory: the system does it, too."""
        if self._connection is None:
            return
        with suppress(duckdb.OutOfMemoryException):  # there is always something it cannot free
            self._connection.execute("SET memory_limit = '1MB'")
        try:
            self._connection.execute(f"SET memory_limit = '{self._memory}'")
        except duckdb.Error:
            log.exception("%s is opened anew, as its cache could not be given back", self._path)
            self._close()

    def _read(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        with self._in_use:
            reader = self._asked = self._reader
            if reader is None:
                raise StoreError(f"{self._path} is not open")
            try:
                return work(reader)
            except duckdb.Error as error:
                raise StoreError(_line(self._path, error)) from error
            finally:
                self._asked = None

    def _interrupt(self) -> None:
        """Stop the question that runs, also where the file is open anew meanwhile."""
        if (asked := self._asked) is not None:
            asked.interrupt()


def _migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the tables to this version, each step whole or not at all."""
    connection.execute(VERSION_TABLE)
    ((version,),) = connection.execute("SELECT max(version) FROM schema_version").fetchall()
    version = version or 0
    if version > len(MIGRATIONS):
        raise StoreError(
            f"the events were written by a newer version (schema {version},"
            f" this one knows {len(MIGRATIONS)})"
        )
    for number, step in enumerate(MIGRATIONS[version:], version + 1):
        connection.begin()
        connection.execute(step)
        connection.execute("INSERT INTO schema_version VALUES (?)", [number])
        connection.commit()


def _usage(reader: duckdb.DuckDBPyConnection, query: UsageQuery, max_rows: int) -> list[UsageRow]:
    """Ask in one transaction: what is in a part, and what is not, may change between two."""
    reader.begin()
    try:
        hours = Hours(open=rollup.open_hours(reader), rolled=rollup.rolled_hours(reader))
        return usage_rows(reader, query, hours, max_rows=max_rows)
    finally:
        with suppress(duckdb.Error):
            reader.rollback()


def _line(path: Path, error: duckdb.Error) -> str:
    """Return one line for people."""
    text = str(error)
    if "Could not set lock" in text:
        owner = re.search(r"PID (\d+)", text)
        return f"{path} is in use by another process" + (f" ({owner[0]})" if owner else "")
    return text.partition("\n")[0]
