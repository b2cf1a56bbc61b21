"""Copies of a DuckDB file: while its owner writes nothing, by another process.

Not by ours: DuckDB locks its file for this process, and a process that closes a file has none
of its locks on it any more, whoever opened it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import duckdb

from services.analytics.ports import StoreError
from services.analytics.stores.duckdb_schema import MIGRATIONS

COPY: Final = ("cp", "--reflink=auto", "--")


def copy_open(connection: duckdb.DuckDBPyConnection, path: Path, to: Path, seconds: float) -> None:
    """Copy the file of a connection that does nothing else meanwhile. StoreError."""
    connection.execute("CHECKPOINT")  # all that is in the log beside the file comes into it
    try:
        subprocess.run(
            [*COPY, path, to], check=True, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.CalledProcessError as error:
        raise StoreError(f"{path} cannot be copied: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise StoreError(f"{path} was not copied within {seconds:g} s") from error


def copy_closed(path: Path, to: Path, seconds: float) -> None:
    """Copy a file that no process has open. StoreError: one has, or it cannot be read."""
    try:
        with duckdb.connect(str(path)) as connection:
            copy_open(connection, path, to, seconds)
    except duckdb.Error as error:
        raise StoreError(f"{path}: {_first_line(error)}") from error


def check(path: Path) -> None:
    """Look whether a file can be opened by this version. StoreError."""
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            found = connection.execute("SELECT max(version) FROM schema_version").fetchall()
    except duckdb.Error as error:
        raise StoreError(f"{path.name} cannot be opened: {_first_line(error)}") from error
    ((version,),) = found
    if version > len(MIGRATIONS):
        known = len(MIGRATIONS)
        raise StoreError(f"{path.name} is of a newer version (schema {version}, known: {known})")


def _first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]
