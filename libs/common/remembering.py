"""Look-ups of bytes that come again and again, within bounds whatever comes."""

from __future__ import annotations

from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MOST: Final = 4096
LONGEST: Final = 512  # bytes: longer ones hardly come again


def remember(known: dict[K, V], key: K, value: V, size: int) -> None:
    """Keep a value that was made of so many bytes, or into as many; begin anew where it is full."""
    if size <= LONGEST:
        if len(known) >= MOST:
            known.clear()
        known[key] = value
