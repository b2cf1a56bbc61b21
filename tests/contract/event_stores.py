"""The stores that the suites of EventStore and UsageStore run over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

from libs.common.events.values import Batch, InferenceEvent, LifecycleEvent
from libs.common.usage import UsageQuery
from services.analytics.stores.duckdb import DuckDBStore
from services.analytics.stores.duckdb_hours import Keeping

Open: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]

FOR_EVER = Keeping(events_days=0, usage_days=0)


class RolledUp(DuckDBStore):
    """Answers from roll-ups, but for what they do not say."""

    async def write(self, batches: Sequence[Batch]) -> None:
        await super().write(batches)
        for _ in range(2):  # what has just come is left for the next time
            await self.upkeep(2**64)


# Each opens the store of a folder, as often as it is called the same one.
STORES: dict[str, Callable[[Path], AbstractAsyncContextManager[Any]]] = {
    "duckdb": lambda folder: DuckDBStore(folder / "events.duckdb"),
    "duckdb, rolled up": lambda folder: RolledUp(folder / "events.duckdb", keeping=FOR_EVER),
}


def of(*events: InferenceEvent | LifecycleEvent | None, first: int = 1) -> Batch:
    """Make a batch of one server."""
    return Batch(server="ams-0", boot_epoch=1, first_sequence=first, events=events)


async def requests(store: Any) -> int:
    """Count the requests that the store knows."""
    rows = await store.usage(UsageQuery(), max_rows=10)
    return sum(row.requests for row in rows)
