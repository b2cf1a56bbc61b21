"""A timer that keeps to the microsecond, where the loop's own rounds to the millisecond.

Two hundred streams at one token every 20 ms are a token every 100 us: with timers of
a millisecond they would come ten at a time, which flatters whoever writes in batches.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import time
from collections.abc import Callable
from itertools import count

CLOCK_MONOTONIC = 1
ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_libc = ctypes.CDLL(None, use_errno=True)


class Ticker:
    """Calls back at moments of `time.monotonic`; one timer of the kernel for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._armed = 0.0
        self._file = _libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        loop.add_reader(self._file, self._fire)

    def __repr__(self) -> str:
        return f"<Ticker waiting={len(self._waiting)}>"

    def at(self, when: float, callback: Callable[[], None]) -> None:
        """Call back at that moment, or at once where it has passed."""
        heapq.heappush(self._waiting, (when, next(self._order), callback))
        if not self._armed or when < self._armed:
            self._arm(when)

    def close(self) -> None:
        """Forget everything that waits."""
        if self._file >= 0:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = -1
        self._waiting.clear()

    async def sleep_until(self, when: float) -> None:
        """Wait for that moment."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self.at(when, lambda: None if waiter.done() else waiter.set_result(None))
        await waiter

    def _arm(self, when: float) -> None:
        self._armed = when
        seconds, rest = divmod(max(when, 0.000001), 1)  # all zeros would disarm it
        nanoseconds = int(rest * 1e9)
        spec = (ctypes.c_long * 4)(0, 0, int(seconds), nanoseconds)
        _libc.timerfd_settime(self._file, ABSOLUTE, ctypes.byref(spec), None)

    def _fire(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:  # it was armed anew since
            return
        self._armed = 0.0
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            heapq.heappop(self._waiting)[2]()
        if self._waiting and not (self._armed and self._armed <= self._waiting[0][0]):
            self._arm(self._waiting[0][0])
