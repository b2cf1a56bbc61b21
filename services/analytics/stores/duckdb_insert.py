"""Columns into a table of a DuckDB file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

from services.analytics.stores.columns import Columns

LISTS = "visited_colos"  # the one column of lists; hardly ever is anything in them


def insert(connection: duckdb.DuckDBPyConnection, table: str, columns: Columns) -> None:
    """Add rows to a table; nothing, where there are no columns.

    Texts and numbers are two tables side by side, since DuckDB reads those in one thread: what
    several may read it gathers first, which copies all of it once more.
    """
    if not columns:
        return
    texts = {name: column for name, column in columns.items() if column.dtype == object}
    numbers = {name: column for name, column in columns.items() if name not in texts}
    others = ""
    if LISTS in texts and not any(texts[LISTS]):
        del texts[LISTS]  # it takes lists one by one
        others = f", []::VARCHAR[] AS {LISTS}"
    with _registered(connection, texts=texts, numbers=numbers):
        connection.execute(
            f"INSERT INTO {table} BY NAME SELECT *{others} FROM texts POSITIONAL JOIN numbers"
        )


@contextmanager
def _registered(connection: duckdb.DuckDBPyConnection, **tables: Columns) -> Iterator[None]:
    """Let statements read these tables by their names."""
    try:
        for name, columns in tables.items():
            view: Any = columns  # a dict of arrays is a table; DuckDB's annotations do not tell
            connection.register(name, view)
        yield
    finally:
        for name in tables:
            connection.unregister(name)
