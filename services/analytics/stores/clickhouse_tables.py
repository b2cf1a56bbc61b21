"""Makes the tables of a ClickHouse what this version wants them to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client

from services.analytics.ports import StoreError
from services.analytics.stores.clickhouse_schema import (
    MIGRATIONS,
    OF_EVENTS,
    OF_USAGE,
    VERSION_TABLE,
    ttl,
)

MOST_DAYS = 20_000  # more would be after the last moment that a ClickHouse's time can tell
ENGINES = "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long rows are kept, in days; 0: for ever. Events never outlive what they came to."""

    events_days: int = 0
    usage_days: int = 0

    @property
    def of_events(self) -> int:
        """Return how long events are kept."""
        return self.of_usage if not self.events_days else min(self.events_days, self._usage)

    @property
    def of_usage(self) -> int:
        """Return how long hours are kept."""
        return self.usage_days and self._usage

    @property
    def _usage(self) -> int:
        return min(self.usage_days or MOST_DAYS, MOST_DAYS)


def prepare(client: Client, *, retention: Retention) -> None:
    """Bring the tables to this version and retention. Can be repeated, and done by several."""
    client.command(VERSION_TABLE)
    ((version,),) = client.query("SELECT max(version) FROM schema_version").result_rows
    if version > len(MIGRATIONS):
        raise StoreError(
            f"the events were written by a newer version (schema {version},"
            f" this one knows {len(MIGRATIONS)})"
        )
    for number, step in enumerate(MIGRATIONS[version:], version + 1):
        for statement in step:
            client.command(statement)
        client.command(f"INSERT INTO schema_version (version) VALUES ({number})")
    found: Sequence[Any] = client.query(ENGINES).result_rows
    engines: dict[str, str] = dict(found)
    for table, column in OF_EVENTS.items():
        _keep(client, table, engines[table], column, retention.of_events)
    for table, column in OF_USAGE.items():
        _keep(client, table, engines[table], column, retention.of_usage)


def _keep(client: Client, table: str, engine: str, column: str, days: int) -> None:
    """Have rows removed after so many days, where that is not so already."""
    wanted = ttl(column, days)
    if days and wanted not in engine:
        client.command(f"ALTER TABLE {table} MODIFY TTL {wanted}")
    elif not days and " TTL " in engine:
        client.command(f"ALTER TABLE {table} REMOVE TTL")
