"""The stores that the suites of EventStore and UsageStore run over."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

from libs.common.events.values import Batch, InferenceEvent, LifecycleEvent
from libs.common.usage import UsageQuery
from services.analytics.stores.duckdb import DuckDBStore

Open: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]

# Each opens the store of a folder, as often as it is called the same one.
STORES: dict[str, Callable[[Path], AbstractAsyncContextManager[Any]]] = {
    "duckdb": lambda folder: DuckDBStore(folder / "events.duckdb"),
}


def of(*events: InferenceEvent | LifecycleEvent | None, first: int = 1) -> Batch:
    """Make a batch of one server."""
    return Batch(server="ams-0", boot_epoch=1, first_sequence=first, events=events)


async def requests(store: Any) -> int:
    """Count the requests that the store knows."""
    rows = await store.usage(UsageQuery(), max_rows=10)
    return sum(row.requests for row in rows)
