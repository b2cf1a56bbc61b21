"""What analytics asks of a store, and of what leads to one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

from libs.common.events.values import Batch
from libs.common.usage import RecentQuery, RecordedEvent, UsageQuery, UsageRow


class StoreError(Exception):
    """The store cannot be opened, written or read now; the message is one line for people."""


class EventStore(Protocol):
    """Keeps events."""

    async def write(self, batches: Sequence[Batch]) -> None:
        """Keep all the batches durably, or raise StoreError.

        Repetition is harmless: what (server, boot epoch, sequence) names is
        kept once. For that, batches of one boot and partition come in the
        order of their sequence, though they may begin again at an earlier
        one. What is above the last one of its partition is new.
        """
        ...


class Store(EventStore, AbstractAsyncContextManager[Any], Protocol):
    """Keeps events while it is entered. Entering raises StoreError where that cannot be mended."""


@runtime_checkable
class UsageStore(Protocol):
    """Says what the events add up to, and what the last ones were.

    Raises StoreError, and TimeoutError for what takes too long.
    """

    async def usage(self, query: UsageQuery, *, max_rows: int) -> list[UsageRow]:
        """Return the rows in the order of their groups, at most `max_rows`; their cost is 0."""
        ...

    async def recent(self, query: RecentQuery) -> list[RecordedEvent]:
        """Return the attempts in the order of their positions, the last one first."""
        ...


class Line(Protocol):
    """Takes batches on their way to where they are stored."""

    async def submit(self, batch: Batch, stored: Callable[[Batch], None]) -> None:
        """Put a batch in line, when there is room; `stored` is called once it is stored."""
        ...

    async def flush(self, seconds: float) -> None:
        """Wait until all that was submitted is stored; TimeoutError when that takes longer."""
        ...
