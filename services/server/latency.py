"""How quick an endpoint was of late."""

from __future__ import annotations


class Latency:
    """An exponentially weighted mean of seconds that fades while nothing new is seen.

    It fades against the newest sight of those that it is compared with, so that no
    clock is read for a choice, and an endpoint that nobody chooses is tried again.
    """

    __slots__ = ("at", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.at = 0.0  # when the last one was seen, on the monotonic clock

    def __repr__(self) -> str:
        return f"<Latency {self.seconds * 1000:.1f} ms>"

    def seen(self, seconds: float, *, now: float, memory_s: float) -> None:
        """A call took so long; what was seen `memory_s` ago counts half."""
        kept = _kept(now - self.at, memory_s) if self.seconds else 0.0
        self.seconds = self.seconds * kept + seconds * (1.0 - kept)
        self.at = now

    def faded(self, newest: float, memory_s: float) -> float:
        """Return the mean, the less the longer ago its last sight is; 0: nothing is known."""
        return self.seconds * _kept(newest - self.at, memory_s)


def _kept(idle: float, memory_s: float) -> float:
    # Half after memory_s, as 2 ** -(idle / memory_s) is, without a call of the C library.
    return memory_s / (memory_s + idle) if idle > 0 else 1.0
