"""The lease as a row of the store: one for all controls that share it.

No clock is in it, for those of two machines differ: who holds it counts its beats, and whoever
stands by watches whether they still come.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table
from sqlalchemy.exc import IntegrityError

from services.control.ports import LeaseRow

NAME: Final = "control"


def table(metadata: MetaData) -> Table:
    """Return the table, among the others of the store."""
    return Table(
        "leases",
        metadata,
        Column("name", String(32), primary_key=True),
        Column("holder", String(512), nullable=False),
        Column("term", BigInteger, nullable=False),
        Column("beat", BigInteger, nullable=False),
        Column("waiting", BigInteger, nullable=False),
    )


def read(leases: Table, connection: Connection) -> LeaseRow:
    """Return the row as it is; without one, nobody ever held the lease."""
    row = connection.execute(leases.select().where(leases.c.name == NAME)).one_or_none()
    if row is None:
        return LeaseRow()
    return LeaseRow(holder=row.holder, term=row.term, beat=row.beat, waiting=row.waiting)


def take(leases: Table, connection: Connection, seen: LeaseRow, holder: str) -> bool:
    """Take the lease for the next term, unless it has changed since it was `seen`."""
    values = {"holder": holder, "term": seen.term + 1, "beat": 0}
    if seen.term == 0:
        try:
            with connection.begin_nested():
                connection.execute(leases.insert(), {"name": NAME, "waiting": 0, **values})
        except IntegrityError:  # another one was first
            return False
        return True
    mine = (leases.c.name == NAME, leases.c.term == seen.term, leases.c.beat == seen.beat)
    return _changed(connection.execute(leases.update().where(*mine).values(values)))


def beat(leases: Table, connection: Connection, term: int) -> bool:
    """Count one more beat of a term; False: the lease is another's by now."""
    mine = (leases.c.name == NAME, leases.c.term == term)
    values = {"beat": leases.c.beat + 1}
    return _changed(connection.execute(leases.update().where(*mine).values(values)))


def stand_by(leases: Table, connection: Connection) -> None:
    """Leave a sign that somebody stands by."""
    values = {"waiting": leases.c.waiting + 1}
    connection.execute(leases.update().where(leases.c.name == NAME).values(values))


def release(leases: Table, connection: Connection, term: int) -> None:
    """Give the lease up, so that nobody waits for the end of its time."""
    mine = (leases.c.name == NAME, leases.c.term == term)
    connection.execute(leases.update().where(*mine).values({"holder": "", "term": term + 1}))


def _changed(result: Any) -> bool:
    return bool(result.rowcount)
