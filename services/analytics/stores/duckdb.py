"""Events in a DuckDB file: the default store.

DuckDB locks its file, so one process owns it. One thread writes, and one
reads through a second connection, so the loop waits for neither.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import duckdb

from libs.common.events.values import Batch
from libs.common.usage import RecentQuery, RecordedEvent, UsageQuery, UsageRow
from services.analytics.ports import StoreError
from services.analytics.stores.columns import (
    Columns,
    Source,
    fresh,
    inference_columns,
    lifecycle_columns,
    watermark_columns,
)
from services.analytics.stores.duckdb_recent import recent_statement, recorded
from services.analytics.stores.duckdb_schema import MIGRATIONS, VERSION_TABLE
from services.analytics.stores.duckdb_usage import statement

Answer: TypeAlias = tuple[list[str], list[tuple[Any, ...]]]

log = logging.getLogger(__name__)
# Of the log, which is in memory, too, until it is written into tables; DuckDB's own is 16 MB.
CHECKPOINT = "2MB"
CACHED_WRITES = 300  # after so many, a minute's under load, the cache of the file is given back
# In place: a row that is replaced stays in memory as long as the file is open.
RAISE = """
    UPDATE watermarks SET last_sequence = batch.last_sequence FROM batch
    WHERE watermarks.server = batch.server AND watermarks.boot_epoch = batch.boot_epoch
        AND watermarks.partition = batch.partition
"""


class DuckDBStore:
    """An async context manager: the file is open inside. Raises StoreError.

    A failed write closes the connection, since DuckDB may refuse everything
    after one; the next write opens it again and reads anew what is there.
    """

    def __init__(
        self, path: Path, *, memory_mb: int = 512, threads: int = 2, query_seconds: float = 30.0
    ) -> None:
        self._path = path
        self._settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_mb}MB",
            "checkpoint_threshold": CHECKPOINT,
            "threads": threads,
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
        self._watermarks: dict[Source, int] = {}
        self._identity = ""
        self._writes = 0

    def __repr__(self) -> str:
        return f"<DuckDBStore {self._path.name} {'open' if self._connection else 'closed'}>"

    @property
    def identity(self) -> str:
        """Return what tells this file from others, once it has been open."""
        return self._identity

    async def __aenter__(self) -> Self:
        await asyncio.wrap_future(self._writing.submit(self._open))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._interrupt()
        await asyncio.wrap_future(self._reading.submit(lambda: None))
        await asyncio.wrap_future(self._writing.submit(self._close))
        self._reading.shutdown(wait=False)
        self._writing.shutdown(wait=False)

    async def write(self, batches: Sequence[Batch]) -> None:
        """Keep what is new of the batches, all in one transaction."""
        await asyncio.wrap_future(self._writing.submit(self._write, batches))
        self._writes += 1
        if self._writes >= CACHED_WRITES and not self._one_query.locked():
            self._writes = 0
            async with self._one_query:  # it would find no memory meanwhile
                await asyncio.wrap_future(self._writing.submit(self._drop_cache))

    async def usage(self, query: UsageQuery, *, max_rows: int) -> list[UsageRow]:
        """Return the rows; TimeoutError when they take too long."""
        names, rows = await self._ask(*statement(query, max_rows=max_rows))
        return [UsageRow(**dict(zip(names, row, strict=True))) for row in rows]

    async def recent(self, query: RecentQuery) -> list[RecordedEvent]:
        """Return the last attempts; TimeoutError when they take too long."""
        _, rows = await self._ask(*recent_statement(query))
        return recorded(rows)

    async def _ask(self, sql: str, parameters: dict[str, Any]) -> Answer:
        async with self._one_query:
            answer: Future[Answer] = self._reading.submit(self._read, sql, parameters)
            try:
                async with asyncio.timeout(self._query_seconds):
                    return await asyncio.wrap_future(answer)
            except (TimeoutError, asyncio.CancelledError):
                self._interrupt()
                raise

    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._connection is not None:
            return self._connection
        try:
            self._connection = duckdb.connect(str(self._path), config=self._settings)
            _migrate(self._connection)
            rows = self._connection.execute("SELECT * FROM watermarks").fetchall()
            identity = self._connection.execute("SELECT id FROM identity").fetchall()
            self._reader = self._connection.cursor()
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
            connection.begin()
            _insert(connection, "inference_events", inference_columns(new.rows))
            _insert(connection, "lifecycle_events", lifecycle_columns(new.rows))
            begun = {k: v for k, v in new.watermarks.items() if k not in self._watermarks}
            raised = {k: v for k, v in new.watermarks.items() if k in self._watermarks}
            _insert(connection, "watermarks", watermark_columns(begun))
            _execute(connection, RAISE, watermark_columns(raised))
            connection.commit()
        except duckdb.Error as error:
            self._close()
            raise StoreError(_line(self._path, error)) from error
        self._watermarks |= new.watermarks

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

    def _read(self, sql: str, parameters: dict[str, Any]) -> Answer:
        """Return the names of the columns, and the rows."""
        if self._reader is None:
            raise StoreError(f"{self._path} is not open")
        try:
            found = self._reader.execute(sql, parameters)
            return [column[0] for column in found.description or ()], found.fetchall()
        except duckdb.Error as error:
            raise StoreError(_line(self._path, error)) from error

    def _interrupt(self) -> None:
        if self._reader is not None:
            self._reader.interrupt()


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


def _insert(connection: duckdb.DuckDBPyConnection, table: str, columns: Columns) -> None:
    _execute(connection, f"INSERT INTO {table} BY NAME SELECT * FROM batch", columns)


def _execute(connection: duckdb.DuckDBPyConnection, sql: str, columns: Columns) -> None:
    """Execute a statement on `batch`, these columns; nothing, where they are empty."""
    if not columns:
        return
    view: Any = columns  # DuckDB reads a dict of arrays as a table; its annotations do not tell
    connection.register("batch", view)
    try:
        connection.execute(sql)
    finally:
        connection.unregister("batch")


def _line(path: Path, error: duckdb.Error) -> str:
    """Return one line for people."""
    text = str(error)
    if "Could not set lock" in text:
        owner = re.search(r"PID (\d+)", text)
        return f"{path} is in use by another process" + (f" ({owner[0]})" if owner else "")
    return text.partition("\n")[0]
