"""What answers for usage where no store can: it says so."""

from __future__ import annotations

from libs.common.usage import RecentQuery, RecordedEvent, UsageQuery, UsageRow
from services.analytics.ports import StoreError


class Unanswering:
    """A UsageStore without events; everything that it is asked ends in a StoreError."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = ", ".join(names)

    async def usage(self, query: UsageQuery, *, max_rows: int) -> list[UsageRow]:
        """Say where to ask instead."""
        raise self._nowhere()

    async def recent(self, query: RecentQuery) -> list[RecordedEvent]:
        """Say where to ask instead."""
        raise self._nowhere()

    def _nowhere(self) -> StoreError:
        return StoreError(
            f"{self._names} answers no questions; ask where its events are stored,"
            " or add duckdb or clickhouse to the setting analytics.stores"
        )
