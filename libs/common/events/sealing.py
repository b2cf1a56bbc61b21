"""When a batch of events is sealed: soon for one alone, at a steady pace among many."""

from __future__ import annotations

from typing import Final

# A batch of one event is sealed so late: its answer is out by then, and the next call not here.
SOON_S: Final = 0.001


class Sealing:
    """Decides for one sink; times in seconds of its loop's clock.

    Among many a batch comes `flush_s` after the one before. To keep to that where events come one
    by one would let the moment wander with their jitter, until it is in the middle of a call.
    """

    __slots__ = ("_began_at", "_flush_s", "_sealed_at", "_soon_s", "_was_alone")

    def __init__(self, flush_s: float) -> None:
        self._flush_s = flush_s
        self._soon_s = min(SOON_S, flush_s)
        self._began_at = 0.0  # when the first event of the last batch came
        self._sealed_at = 0.0
        self._was_alone = True  # it had no other

    def __repr__(self) -> str:
        return f"<Sealing sealed_at={self._sealed_at:.3f} alone={self._was_alone}>"

    def due(self, now: float) -> float:
        """Return when the batch is to be sealed whose first event has come."""
        soon = now + self._soon_s
        is_alone = self._was_alone and now - self._began_at >= self._flush_s / 2
        self._began_at = now
        return soon if is_alone else max(soon, self._sealed_at + self._flush_s)

    def sealed(self, now: float, events: int) -> None:
        """Hear that a batch of so many was sealed."""
        self._sealed_at = now
        self._was_alone = events == 1
