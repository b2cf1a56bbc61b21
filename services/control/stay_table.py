"""The stays of endpoints as rows of the store: those whose end has not been seen."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table

from services.control.endpoint_tracker import Endpoint, Stay


def table(metadata: MetaData) -> Table:
    """Return the table, among the others of the store."""
    return Table(
        "stays",
        metadata,
        Column("instance", String(512), primary_key=True),
        Column("model", String(512), nullable=False),
        Column("colo", String(512), nullable=False),
        Column("node", String(512), nullable=False),
        Column("address", String(512), nullable=False),
        Column("begin_ts", BigInteger, nullable=False),
        Column("seen_ts", BigInteger, nullable=False),
    )


def read(stays: Table, connection: Connection) -> tuple[list[Stay], int]:
    """Return them all, and when they were last seen."""
    rows = connection.execute(stays.select()).all()
    found = [
        Stay(
            endpoint=Endpoint(
                instance=row.instance,
                model=row.model,
                colo=row.colo,
                node=row.node,
                address=row.address,
            ),
            begin_ts=row.begin_ts,
        )
        for row in rows
    ]
    return found, max((row.seen_ts for row in rows), default=0)


def keep(stays: Table, connection: Connection, changed: Sequence[Stay], seen_ts: int) -> None:
    """Keep those that began, forget those that ended, and note that all others are there."""
    if changed:
        names = {each.endpoint.instance for each in changed}
        connection.execute(stays.delete().where(stays.c.instance.in_(names)))
    began = [_row(each, seen_ts) for each in changed if not each.end_ts]
    connection.execute(stays.update().values(seen_ts=seen_ts))
    if began:
        connection.execute(stays.insert(), began)


def _row(stay: Stay, seen_ts: int) -> dict[str, object]:
    where = stay.endpoint
    return {
        "instance": where.instance,
        "model": where.model,
        "colo": where.colo,
        "node": where.node,
        "address": where.address,
        "begin_ts": stay.begin_ts,
        "seen_ts": max(seen_ts, stay.begin_ts),
    }
