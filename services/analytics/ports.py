"""What analytics asks of a store, and of what leads to one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
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
class OwnStore(Protocol):
    """A store that one process alone writes to: what is read for it from Kafka, it needs whole."""

    @property
    def identity(self) -> str:
        """Return what tells it from others of its kind, once it has been open."""
        ...


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


@runtime_checkable
class FileStore(Protocol):
    """A store in one file of this machine."""

    async def copy(self, to: Path, *, seconds: float) -> None:
        """Copy the file, with all that is written. StoreError, also where that takes longer."""
        ...


@dataclass(slots=True)
class ReadingCounts:
    """What has happened since boot; plain integers, read by the metrics."""

    records: int = 0
    # Of those, without an event in them; left out.
    records_broken: int = 0
    # That Kafka had deleted before they were read: lost.
    records_missed: int = 0
    # Times that reading ended by an error, and began anew.
    errors: int = 0


class Line(Protocol):
    """Takes batches on their way to where they are stored."""

    async def submit(self, batch: Batch, stored: Callable[[Batch], None]) -> None:
        """Put a batch in line, when there is room; `stored` is called once it is stored."""
        ...

    async def flush(self, seconds: float) -> None:
        """Wait until all that was submitted is stored; TimeoutError when that takes longer."""
        ...


class Reading(Protocol):
    """What reads Kafka for a store."""

    counts: ReadingCounts

    def running(self) -> AbstractAsyncContextManager[None]:
        """Read while inside; on leaving, what is stored is committed."""
        ...

    def lag(self) -> Mapping[tuple[str, int], int]:
        """Return how many records of each topic's partition are not stored yet."""
        ...
