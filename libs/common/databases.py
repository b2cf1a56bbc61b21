"""Databases of SQL: a SQLite file, or one on another machine, opened in one way."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator
from sqlalchemy import Engine, MetaData, create_engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError

ANSWER_S: Final = 10.0  # longest wait for a database on another machine
# A process that hangs in a transaction holds its locks for so long, and keeps all others out.
IDLE_S: Final = 5.0
# What a power cut may cost, in SQLite: FULL nothing, NORMAL the last transactions.
Durability = Literal["FULL", "NORMAL"]
SPOKEN: Final = ("sqlite", "postgresql")
# What a driver raises: its own words for a lost connection are OSErrors.
ERRORS: Final = (SQLAlchemyError, sqlite3.Error, OSError)


def checked_url(text: str) -> str:
    """Check an address of a database as SQLAlchemy has it, or nothing."""
    try:
        kind = make_url(text).get_backend_name() if text else SPOKEN[0]
    except (SQLAlchemyError, ValueError) as error:  # its text may have a part of a password
        raise ValueError("expected driver://user:password@host[:port]/database") from error
    if kind not in SPOKEN:
        raise ValueError(f"expected a database of {' or '.join(SPOKEN)}")
    return text


StoreUrl = Annotated[str, AfterValidator(checked_url)]  # empty: the usual one


def sqlite_url(path: Path) -> str:
    """Return the address of a SQLite file."""
    return f"sqlite:///{path}"


def opened(url: str, metadata: MetaData, *, sqlite: Durability) -> Engine:
    """Open a database that has these tables from now on; raises one of ERRORS."""
    engine = create_engine(url, **_options(url))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up(sqlite))
    elif engine.dialect.name == "postgresql":
        event.listen(engine, "connect", _give_up_hanging)
    try:
        metadata.create_all(engine)
    except SQLAlchemyError:
        engine.dispose()
        raise
    return engine


def reason(error: BaseException) -> str:
    """Return the first line of what a driver said."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def _options(url: str) -> dict[str, Any]:
    """Return how a database is spoken to: one on another machine may be gone without a word."""
    options: dict[str, Any] = {}
    if not url.startswith("sqlite"):
        options["pool_pre_ping"] = True
    if "+pg8000" in url:
        options["connect_args"] = {"timeout": ANSWER_S}
    return options


def _set_up(durability: Durability) -> Callable[[Any, Any], None]:
    def set_up(connection: Any, _record: Any) -> None:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={durability}")
            connection.execute("PRAGMA busy_timeout=5000")
        except sqlite3.Error:  # no database: nobody else has this connection yet
            connection.close()
            raise

    return set_up


def _give_up_hanging(connection: Any, _record: Any) -> None:
    """Have a PostgreSQL end the connection of whoever says nothing within a transaction."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = {round(1000 * IDLE_S)}")
    connection.commit()
