"""What control needs from elsewhere: places for what lasts, and who knows why."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from libs.common.explanation import Explanation, Question
from libs.common.world_map import Ref, Resource
from services.control.endpoint_tracker import Stay


class Store(Protocol):
    """Keeps resources over restarts; every write is whole or not at all.

    `open` and `write` raise Unavailable when the store cannot be had, `write` BadInput
    for a value that does not stand.
    """

    async def open(self) -> list[Resource]:
        """Make it ready, and return what is kept."""
        ...

    async def write(self, puts: Sequence[Resource], deletes: Sequence[Ref] = ()) -> None:
        """Write and remove resources in one transaction."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


class Explainer(Protocol):
    """Knows what the scheduler has decided; raises Unavailable."""

    async def explain(self, question: Question) -> Explanation:
        """Return the decisions that are asked for."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRow:
    """Who holds the lease; the rest are counters."""

    holder: str = ""  # nobody: it was given back
    term: int = 0  # grows with each change of the holder
    beat: int = 0  # grows while the holder lives
    waiting: int = 0  # grows while somebody stands by


class LeaseStore(Protocol):
    """Keeps the lease, beside the resources; raises Unavailable when it cannot be had."""

    async def lease(self) -> LeaseRow:
        """Return it as it is."""
        ...

    async def take_lease(self, seen: LeaseRow, holder: str) -> bool:
        """Take it, unless it has changed since it was `seen`: from then on writes are fenced."""
        ...

    async def renew_lease(self) -> LeaseRow | None:
        """Beat once and return the row; None where it is another's."""
        ...

    async def stand_by(self) -> None:
        """Leave a sign that somebody stands by."""
        ...

    async def release_lease(self) -> None:
        """Give it back."""
        ...


class StayStore(Protocol):
    """Keeps the stays of endpoints that go on; raises Unavailable when it cannot be had."""

    async def stays(self) -> tuple[Sequence[Stay], int]:
        """Return them, and when their endpoints were last seen."""
        ...

    async def keep_stays(self, changed: Sequence[Stay], *, seen_ts: int) -> None:
        """Keep those that began, forget those that ended; the endpoints of all others were seen."""
        ...


class Received(Protocol):
    """A file that comes in."""

    @property
    def size(self) -> int:
        """How many bytes have come."""
        ...

    async def write(self, chunk: bytes) -> None:
        """Take a piece."""
        ...

    async def keep(self) -> str:
        """Keep what has come, safe from a loss of power, and return its digest."""
        ...


class Assets(Protocol):
    """Keeps uploaded files by their digest. Raises NoRoom, and UnknownFinetune for no such file."""

    async def open(self, wanted: Collection[str]) -> None:
        """Make it ready, with these files alone."""
        ...

    async def retain(self, wanted: Collection[str]) -> None:
        """Remove all files but these."""
        ...

    def receive(self, size: int) -> AbstractContextManager[Received]:
        """Take a file of so many bytes while inside; what is not kept is gone after it."""
        ...

    async def beginning(self, sha256: str, most: int) -> bytes:
        """Return the first bytes of a file."""
        ...

    def read(self, sha256: str) -> AsyncGenerator[bytes, None]:
        """Yield a file in pieces."""
        ...
