"""The minutes kept: log(1 + x) of the last 14 days, and what was expected of each.

One row of float32 each for the logs, and for centre and scale of the ridge's forecast made at that
minute (NaN where there was none): 250 KB a series in memory, about a tenth in bytes. Minutes that
nobody saw, as the scheduler was down, are taken from the day before.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

DAY = 1440
WEEK = 7 * DAY
KEPT = 14 * DAY
_SPARE = DAY  # so that everything moves once a day, and not each minute
_STEPS = 4096  # of a log: a 40th of a percent of the load; 16 bits hold 9 million permits
_LOG, _CENTRE, _SCALE = range(3)


class Minutes:
    """A window on the last minutes; `first` is the number of its oldest minute since 1970."""

    def __init__(self) -> None:
        self._rows: Singles = np.full((3, KEPT + _SPARE), np.nan, dtype=np.float32)
        self._sums: Floats = np.zeros(KEPT + _SPARE + 1)
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
        return self._rows[_LOG, : self.count]

    @property
    def sums(self) -> Floats:
        """Sums of all logs before each minute: (n + 1,)."""
        return self._sums[: self.count + 1]

    @property
    def centres(self) -> Singles:
        """The log-ratio that the ridge expected at each minute: (n,)."""
        return self._rows[_CENTRE, : self.count]

    @property
    def scales(self) -> Singles:
        """The error that the ridge expected at each minute: (n,)."""
        return self._rows[_SCALE, : self.count]

    @property
    def load(self) -> float:
        """The x of the newest minute; 0 before there is one."""
        return math.expm1(float(self._rows[_LOG, self.count - 1])) if self.count else 0.0

    @property
    def smoothed(self) -> float:
        """L, the mean of the last three logs."""
        least = min(self.count, 3)
        return float(self._sums[self.count] - self._sums[self.count - least]) / max(least, 1)

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
        self._rows[_CENTRE:, self.count - 1] = centre, scale

    def _append(self, log: float) -> None:
        if self.count == KEPT + _SPARE:
            self._rows[:, :KEPT] = self._rows[:, _SPARE:]
            self._rows[_CENTRE:, KEPT:] = np.nan
            self.first, self.count = self.first + _SPARE, KEPT
            np.cumsum(self._rows[_LOG, :KEPT], out=self._sums[1 : KEPT + 1])
        self._rows[_LOG, self.count] = log
        self._rows[_CENTRE:, self.count] = np.nan
        self._sums[self.count + 1] = self._sums[self.count] + float(self._rows[_LOG, self.count])
        self.count += 1

    def packed(self) -> NDArray[np.uint16]:
        """Return the logs in steps, which they are kept in."""
        return np.round(self.logs[-KEPT:] * _STEPS).astype(np.uint16)

    def unpack(self, first: int, packed: NDArray[np.uint16]) -> None:
        """Take in what `packed` returned; `first` is the number of its oldest minute."""
        self.first, self.count = first, min(packed.size, KEPT)
        self._rows[_LOG, : self.count] = packed[-KEPT:].astype(np.float32) / _STEPS
        np.cumsum(self._rows[_LOG, : self.count], out=self._sums[1 : self.count + 1])
