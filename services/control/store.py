"""The store: one table of resources as JSON, in SQLite or another SQL database.

All its calls block, so they run in one thread of their own, in order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    Row,
    String,
    Table,
    Text,
    make_url,
    tuple_,
)
from sqlalchemy.exc import SQLAlchemyError

from libs.common import databases
from libs.common.errors import BadInput, Unavailable
from libs.common.messages import resource_from_json, resource_to_json
from libs.common.world_map import Ref, Resource, ref
from services.control import lease_table, stay_table
from services.control.endpoint_tracker import Stay
from services.control.ports import LeaseRow

T = TypeVar("T")
log = logging.getLogger(__name__)
metadata = MetaData()
resources = Table(
    "resources",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("key", String(512), primary_key=True),
    Column("body", Text, nullable=False),
)
leases = lease_table.table(metadata)
stays = stay_table.table(metadata)


class SqlStore:
    """Implements `ports.Store`, `ports.LeaseStore` and `ports.StayStore` on SQLAlchemy.

    Once it has taken the lease, every write beats for its term in the same transaction: what lost
    the lease unseen, for it was stopped or cut off, writes nothing any more.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine | None = None
        self._term: int | None = None
        self.failures = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    def __repr__(self) -> str:
        return f"<SqlStore {'open' if self._engine else 'closed'}>"

    async def open(self) -> list[Resource]:
        """Make the table where there is none, and return what is kept."""
        rows = await self._in_thread(self._open)
        return [found for row in rows if (found := _read(row.kind, row.key, row.body))]

    async def write(self, puts: Sequence[Resource], deletes: Sequence[Ref] = ()) -> None:
        """Write and remove resources in one transaction."""
        rows = [_row(each) for each in puts]
        names = [*(ref(each) for each in puts), *deletes]
        if names:
            await self._in_thread(lambda: self._write(rows, names))

    async def lease(self) -> LeaseRow:
        """Return the lease as it is."""
        return await self._in_thread(lambda: self._with(lease_table.read))

    async def take_lease(self, seen: LeaseRow, holder: str) -> bool:
        """Take it, unless it has changed since it was `seen`."""
        taken = await self._in_thread(lambda: self._with(lease_table.take, seen, holder))
        if taken:
            self._term = seen.term + 1
        return taken

    async def renew_lease(self) -> LeaseRow | None:
        """Beat once and return the row; None where it is another's."""
        return await self._in_thread(self._renew)

    async def stand_by(self) -> None:
        """Leave a sign that somebody stands by."""
        await self._in_thread(lambda: self._with(lease_table.stand_by))

    async def release_lease(self) -> None:
        """Give it back; nothing can be written any more."""
        await self._in_thread(lambda: self._with(lease_table.release, self._term or 0))

    async def stays(self) -> tuple[list[Stay], int]:
        """Return the stays that are kept, and when their endpoints were last seen."""
        return await self._in_thread(self._stays)

    async def keep_stays(self, changed: Sequence[Stay], *, seen_ts: int) -> None:
        """Keep those that began, forget those that ended; all others were seen."""
        await self._in_thread(lambda: self._keep_stays(changed, seen_ts))

    async def close(self) -> None:
        """Close the database; what was handed over is written first."""
        await self._in_thread(self._close)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except databases.ERRORS as error:
            self.failures += 1
            if self._engine is not None:  # else it is whoever opens it that tells
                log.error("the store failed: %s", error)
            why = databases.reason(error)
            raise Unavailable(f"control's store {self._place()} is not available: {why}") from error

    def _place(self) -> str:
        """Return the file, or the address without its password."""
        try:
            url = make_url(self._url)
        except SQLAlchemyError:
            return "(its store_url is none)"
        return (url.database or "") if url.drivername == "sqlite" else repr(url)

    def _open(self) -> Sequence[Row[Any]]:
        with self._connected().connect() as connection:
            return connection.execute(resources.select()).all()

    def _connected(self) -> Engine:
        if self._engine is None:
            # An epoch given out stays given out.
            self._engine = databases.opened(self._url, metadata, sqlite="FULL")
        return self._engine

    def _with(self, work: Callable[..., T], *args: object) -> T:
        with self._connected().begin() as connection:
            return work(leases, connection, *args)

    def _renew(self) -> LeaseRow | None:
        with self._connected().begin() as connection:
            if not lease_table.beat(leases, connection, self._term or 0):
                return None
            return lease_table.read(leases, connection)

    def _write(self, rows: list[dict[str, str]], names: list[Ref]) -> None:
        old = tuple_(resources.c.kind, resources.c.key).in_([(n.kind, n.key) for n in names])
        with self._writing() as connection:
            connection.execute(resources.delete().where(old))
            if rows:
                connection.execute(resources.insert(), rows)

    def _stays(self) -> tuple[list[Stay], int]:
        with self._connected().connect() as connection:
            return stay_table.read(stays, connection)

    def _keep_stays(self, changed: Sequence[Stay], seen_ts: int) -> None:
        with self._writing() as connection:
            stay_table.keep(stays, connection, changed, seen_ts)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Run a transaction that counts for our term; Unavailable where that is over."""
        if self._engine is None:
            raise Unavailable("control's store is not open")
        with self._engine.begin() as connection:
            if self._term is not None and not lease_table.beat(leases, connection, self._term):
                raise Unavailable("another control is active by now")
            yield connection

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None


def _row(resource: Resource) -> dict[str, str]:
    """Write a resource as a row; reading it back is the check that it stands."""
    name = ref(resource)
    try:
        body = resource_to_json(resource)
        resource_from_json(name.kind, body)
    except ValidationError as error:
        first = error.errors()[0]
        pointer = "".join(f"/{part}" for part in first["loc"])
        raise BadInput(f"{name.kind} {name.key}: {first['msg']}", pointer=pointer) from error
    return {"kind": name.kind, "key": name.key, "body": body.decode()}


def _read(kind: str, key: str, body: str) -> Resource | None:
    try:
        return resource_from_json(kind, body)
    except (KeyError, ValueError) as error:  # one bad row must not keep all of control down
        log.error("the store's %s %s is left out: %s", kind, key, error)
        return None
