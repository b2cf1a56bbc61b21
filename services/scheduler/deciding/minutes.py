"""The minutes kept: log(1 + x) of the last 14 days, and what was expected of each.

The logs are float32 in steps of 1/4096; centre and scale of the ridge's forecast made at a minute
are float16, NaN where there was none: 170 KB a series after 14 days, a tenth of it in bytes.
Minutes that nobody saw, as the scheduler was down, are taken from the day before.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Halves = NDArray[np.float16]

DAY = 1440
WEEK = 7 * DAY
KEPT = 14 * DAY
_SPARE = DAY  # so that everything moves once a day, and not each minute
_STEPS = 4096  # of a log: a 40th of a percent of the load; 16 bits hold 9 million permits


class Minutes:
    """A window on the last minutes; `first` is the number of its oldest minute since 1970."""

    def __init__(self) -> None:
        self._logs: Singles = np.empty(0, dtype=np.float32)
        self._expected: Halves = np.empty((2, 0), dtype=np.float16)
        self.first = 0
        self.count = 0

    def __repr__(self) -> str:
        return f"<Minutes {self.count} from {self.first}>"

    @property
    def last(self) -> int:
        """The number of the newest minute since 1970."""
        return self.first + self.count - 1

    @property
    def logs(self) -> Singles:
        """The signal l = log(1 + x), oldest first: (n,)."""
        return self._logs[: self.count]

    @property
    def expected(self) -> Halves:
        """The log-ratio that the ridge expected at each minute, and its error: (2, n)."""
        return self._expected[:, : self.count]

    @property
    def load(self) -> float:
        """The x of the newest minute; 0 before there is one."""
        return math.expm1(float(self._logs[self.count - 1])) if self.count else 0.0

    @property
    def smoothed(self) -> float:
        """L of the newest minute; 0 before there is one."""
        return float(levels(self.logs[-3:])[-1]) if self.count else 0.0

    def peak(self, minutes: int) -> float:
        """Return the largest x of the last minutes."""
        logs = self.logs[-minutes:]
        return math.expm1(float(logs.max())) if logs.size else 0.0

    def add(self, index: int, load: float) -> None:
        """Take in the minute numbered `index`; one that is known or too old already is not."""
        if self.count and index <= self.last:
            return
        gap = index - self.last - 1 if self.count else 0
        if not self.count or gap >= KEPT:
            self.first, self.count = index, 0
        else:
            for _ in range(gap):
                self._append(float(self.logs[-DAY if self.count >= DAY else -1]))
        self._append(round(math.log1p(load) * _STEPS) / _STEPS)

    def expect(self, centre: float, scale: float) -> None:
        """Keep what the ridge expects after the newest minute."""
        self._expected[:, self.count - 1] = centre, scale

    def _append(self, log: float) -> None:
        if self.count == KEPT + _SPARE:
            self._logs[:KEPT] = self._logs[_SPARE:]
            self._expected[:, :KEPT] = self._expected[:, _SPARE:]
            self.first, self.count = self.first + _SPARE, KEPT
        elif self.count == self._logs.size:
            self._grow()
        self._logs[self.count] = log
        self._expected[:, self.count] = np.nan
        self.count += 1

    def _grow(self) -> None:
        more = min(max(self._logs.size, DAY), KEPT + _SPARE - self._logs.size)
        self._logs = np.concatenate([self._logs, np.zeros(more, dtype=np.float32)])
        unknown = np.full((2, more), np.nan, dtype=np.float16)
        self._expected = np.concatenate([self._expected, unknown], axis=1)

    def packed(self) -> NDArray[np.uint16]:
        """Return the logs in steps, which they are kept in."""
        return np.round(self.logs[-KEPT:] * _STEPS).astype(np.uint16)

    def unpack(self, first: int, packed: NDArray[np.uint16]) -> None:
        """Take in what `packed` returned; `first` is the number of its oldest minute."""
        self._logs = packed[-KEPT:].astype(np.float32) / np.float32(_STEPS)
        self.first, self.count = first, self._logs.size
        self._expected = np.full((2, self.count), np.nan, dtype=np.float16)


def levels(logs: Singles) -> Singles:
    """Return L, the mean of the last three logs, of each minute: (n,) to (n,)."""
    before = np.concatenate([logs[:1], logs[:1], logs])
    return np.asarray((before[2:] + before[1:-1] + before[:-2]) / np.float32(3))
