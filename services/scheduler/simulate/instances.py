"""The instances of a simulated model: booting, ready, draining; all of them are paid.

Who has too many cancels the newest boots first, then drains ready ones: these take no new request,
and are paid until the last of theirs has ended.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

NEVER = 1 << 62
Drain = Callable[[int, int, int], list[int]]  # (t, ready, leaving): when each of them is empty


class Instances:
    """Those of one model; `boot_s` says how long the next boot takes."""

    def __init__(self, *, seconds: int, ready: int, boot_s: Callable[[], int]) -> None:
        """Begin with so many ready ones; `next_ready` is when the next boot is over."""
        self.next_ready = NEVER
        self.started = self.actions = 0  # actions: changes of their number
        self._boot_s = boot_s
        self._due: list[int] = []  # when boots are over, in the order of their start
        self._empty: list[int] = []  # when those that drain are
        self._paid_by = np.zeros(seconds + 1, np.int64)
        self._ready_by = np.zeros(seconds + 1, np.int64)
        self.begin_with(ready)

    def __repr__(self) -> str:
        """Tell how many there are."""
        return f"<Instances ready={self.ready} booting={self.booting}>"

    def begin_with(self, ready: int) -> None:
        """Have so many at 0, whatever there were."""
        self.ready = ready
        self._paid_by[0] = self._ready_by[0] = ready

    @property
    def booting(self) -> int:
        """Those that are not ready yet."""
        return len(self._due)

    def present(self, t: int) -> int:
        """Return how many there are now, those that drain included."""
        self._empty = [empty for empty in self._empty if empty > t]
        return self.ready + len(self._due) + len(self._empty)

    def settle(self, t: int) -> None:
        """Have those take requests whose boot is over."""
        booting = [due for due in self._due if due > t]
        over = len(self._due) - len(booting)
        self._due = booting
        self.next_ready = min(booting, default=NEVER)
        self.ready += over
        self._ready_by[t] += over

    def scale(self, t: int, wanted: int, drain: Drain) -> None:
        """Have so many, ready and booting."""
        more = wanted - self.ready - len(self._due)
        if not more:
            return
        self.actions += 1
        if more > 0:
            self._start(t, more)
        else:
            self._stop(t, -more, drain)

    def paid(self) -> NDArray[np.int64]:
        """Return how many were paid in each second."""
        return np.cumsum(self._paid_by[:-1])

    def serving(self) -> NDArray[np.int64]:
        """Return how many were ready in each second."""
        return np.cumsum(self._ready_by[:-1])

    def _start(self, t: int, count: int) -> None:
        self.started += count
        self._paid_by[t] += count
        self._due += [t + self._boot_s() for _ in range(count)]
        self.settle(t)  # a boot may take no time at all

    def _stop(self, t: int, count: int, drain: Drain) -> None:
        cancelled = min(count, len(self._due))
        del self._due[len(self._due) - cancelled :]
        self._paid_by[t] -= cancelled
        self.settle(t)
        if leaving := count - cancelled:
            empties = drain(t, self.ready, leaving)
            self._empty += empties
            for empty in empties:
                self._paid_by[min(empty, len(self._paid_by) - 1)] -= 1
            self.ready -= leaving
            self._ready_by[t] -= leaving
