"""What control needs from elsewhere: a place where lasting resources are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from libs.common.world_map import Ref, Resource


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
