"""Time as a dependency: the machine's clocks, or one that a test turns by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Reads time; `now` for durations, `unix_ms` for records."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def unix_ms(self) -> int:
        """Milliseconds since 1970."""
        ...


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.monotonic)

    def unix_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, start: float = 1_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Return the seconds it was last turned to."""
        return self._now

    def unix_ms(self) -> int:
        """Return the same time as milliseconds."""
        return int(self._now * 1000)

    def advance(self, seconds: float) -> None:
        """Move time forward."""
        self._now += seconds
