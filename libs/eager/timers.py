"""Time bounds of many waits, looked at together: adding one costs a dict entry, not a timer.

They are coarse: what is due is told so at the next tick.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)


class Bounded(Protocol):
    """What has a time bound: `due` in seconds of the timers' clock, moved at any time."""

    due: float

    def expire(self) -> None:
        """Hear that the time is up; called once, after it was taken out."""
        ...


class Timers:
    """Ticks while something is bounded, and once more; belongs to the loop that adds first."""

    def __init__(self, *, tick_s: float = 0.02, now: Callable[[], float] = time.monotonic) -> None:
        self._tick_s = tick_s
        self._now = now
        self._bounded: dict[Bounded, None] = {}
        self._is_used = False  # since the last tick; to stop and start again costs who adds
        self._ticking: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Timers {len(self._bounded)} every {self._tick_s} s>"

    def __len__(self) -> int:
        return len(self._bounded)

    def add(self, bounded: Bounded) -> None:
        """Watch over it."""
        self._bounded[bounded] = None
        self._is_used = True
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    def discard(self, bounded: Bounded) -> None:
        """Forget it, if it is there."""
        self._bounded.pop(bounded, None)

    def _tick(self) -> None:
        now = self._now()
        for each in [each for each in self._bounded if each.due <= now]:
            if each in self._bounded:  # unless another's end has ended it
                del self._bounded[each]
                _expire(each)
        self._ticking = None
        if self._bounded or self._is_used:
            self._is_used = False
            self._ticking = asyncio.get_running_loop().call_later(self._tick_s, self._tick)


def _expire(bounded: Bounded) -> None:
    """Say that its time is up: a bug in one must not leave all others without a bound."""
    try:
        bounded.expire()
    except Exception:
        log.exception("%r could not be told that its time is up", bounded)
