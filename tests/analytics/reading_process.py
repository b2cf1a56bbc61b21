"""Analytics that fill a store from Kafka, as a process of its own, for tests that kill it.

Its argument: the settings, as JSON. It prints how many events it has stored.
Besides DuckDB there is a store named `shared`, a SQLite file that several of
these write to, as they would to a store elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from libs.common.events.values import Batch, InferenceEvent
from services.analytics.app import Config
from services.analytics.stores import building
from tests.analytics.kafka_support import running


class SharedStore:
    """Keeps each identity once, whoever writes it; notes which process did, and how often."""

    def __init__(self, config: Config) -> None:
        self._file = config.state_dir.parent / "shared.sqlite"
        self._writer = config.state_dir.name

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(
            self._execute,
            "CREATE TABLE IF NOT EXISTS events (server, boot_epoch, sequence, writer,"
            " times DEFAULT 1, PRIMARY KEY (server, boot_epoch, sequence))",
            None,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    async def write(self, batches: Sequence[Batch]) -> None:
        rows = [
            (batch.server, batch.boot_epoch, sequence, self._writer)
            for batch in batches
            for sequence, event in enumerate(batch.events, batch.first_sequence)
            if isinstance(event, InferenceEvent)
        ]
        await asyncio.to_thread(
            self._execute,
            "INSERT INTO events (server, boot_epoch, sequence, writer) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET times = times + 1",
            rows,
        )

    def _execute(self, sql: str, rows: list[tuple[str, int, int, str]] | None) -> None:
        connection = sqlite3.connect(self._file, timeout=20)
        try:
            with connection:
                if rows is None:
                    connection.execute(sql)
                else:
                    connection.executemany(sql, rows)
        finally:
            connection.close()


async def main(settings: dict[str, object]) -> None:
    building.BUILDERS = {**building.BUILDERS, "shared": SharedStore}
    config = Config(**{**settings, "state_dir": Path(str(settings["state_dir"]))})  # type: ignore[arg-type]
    async with running(config) as (analytics, _):
        (line,) = analytics.lines.each.values()
        stored = -1
        while True:
            if line.counts.events > stored:
                stored = line.counts.events
                print(stored, flush=True)  # noqa: T201  # to the test
            await asyncio.sleep(0.002)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
