"""Starts and kills the ClickHouse of tests/clickhouse/engine.py."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from services.analytics.stores.clickhouse_client import ClickHouseAddress

ROOT = Path(__file__).parents[2]
CHDB = ROOT / ".tools" / "chdb"
PASSWORD = "pa ss'word"


class RunningClickHouse:
    """A process with an engine; after `kill` it can be started again with the same data."""

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self._folder = folder
        self.port = port
        self._databases = 0
        self._emptying: Client | None = None
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, on the port that it had before, if any."""
        command = [sys.executable, "-m", "tests.clickhouse.engine", str(self._folder), PASSWORD]
        self._process = subprocess.Popen(
            [*command, str(self.port)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(CHDB), "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """Kill it with -9, if it runs."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    @contextmanager
    def database(self) -> Iterator[ClickHouseAddress]:
        """Return the address of a database that nobody else has."""
        self._databases += 1
        address = self.address(f"d{self._databases}")
        client = address.connect(seconds=10, create=True)
        yield address
        client.command(f"DROP DATABASE {address.database} SYNC")
        client.close()

    @contextmanager
    def emptied(self) -> Iterator[ClickHouseAddress]:
        """Return the address of a database whose events are taken out again: sooner than made."""
        address = self.address("emptied")
        if self._emptying is None:
            self._emptying = address.connect(seconds=10, create=True)
        yield address
        for table in ("inference_events", "lifecycle_events"):
            self._emptying.command(f"TRUNCATE TABLE IF EXISTS {table}")

    def address(self, database: str) -> ClickHouseAddress:
        """Return the address of a database of it."""
        return ClickHouseAddress(
            url=f"http://127.0.0.1:{self.port}/{database}", password=PASSWORD, connect_seconds=2
        )


@contextmanager
def running(folder: Path, *, port: int | None = None) -> Iterator[RunningClickHouse]:
    """Run one, with its data in the folder; with a port, wait until it is started."""
    needs_chdb()
    clickhouse = RunningClickHouse(folder, port=port or 0)
    if port is None:
        clickhouse.start()
    try:
        yield clickhouse
    finally:
        clickhouse.kill()


def needs_chdb() -> None:
    """Skip where there is no engine; where there could be one, there must be."""
    if not (CHDB / ".ready").exists():
        could_have_it = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
        (pytest.fail if could_have_it else pytest.skip)("no chdb: run `make tools`")
