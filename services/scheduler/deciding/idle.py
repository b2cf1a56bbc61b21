"""The last instance: where the minimum is 0, it stays for a while after the last call.

    n >= 1    while idle <= T
    n  = 0    after it, if 1 was all that was wanted

T is what the operator says; else the shortest of a ladder with which the last days would have kept
the SLO. With idle(t) the minutes since the last call, each minute is replayed at all rungs:

    a call is cold at T_k     where idle(t) > T_k; so are those of the boot's h minutes after it
    share_k = sum cold calls / sum calls       halved every 5 days
    T       = least T_k with share_k <= 0.8 aim * slo,  as what comes is not what was

Unit: minutes. An idle series has no quantiles worth a word, and its next call hardly depends on
more than how long it has been idle. Source: Shahrad et al., Serverless in the Wild (2020).
"""

from __future__ import annotations

import math

import numpy as np

from services.scheduler.deciding.keeping import Arrays
from services.scheduler.deciding.minutes import DAY, Floats
from services.scheduler.deciding.signal import Minute

LADDER: Floats = np.array(
    [0, 1, 2, 3, 5, 8, 13, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720, 1440], dtype=float
)
START = 60.0  # minutes, before anything is known
GUESS = 0.1  # share of cold calls below it
PRIOR_CALLS = 30.0  # by so many calls is that believed
MARGIN = 0.8
HALF_LIFE = 5.0 * DAY
_KEPT = 0.5 ** (1 / HALF_LIFE)


class Idle:
    """Replays each minute at all keep-alives."""

    def __init__(self) -> None:
        self.cold: Floats = np.zeros(LADDER.size)  # calls
        self.calls = 0.0
        self.last = -1  # the minute of the last call, since 1970; -1: there was none
        self._booting: Floats = np.zeros(LADDER.size)  # until which minute

    def __repr__(self) -> str:
        return f"<Idle since {self.last} of {self.calls:.0f} calls>"

    def learn(self, minute: Minute, horizon: int) -> None:
        """Replay a minute that is over."""
        self.cold *= _KEPT
        self.calls *= _KEPT
        if minute.arrivals <= 0:
            return
        gap = minute.index - self.last if self.last >= 0 else math.inf
        gone = (gap > LADDER + 1) & (self._booting < minute.index)
        self._booting[gone] = minute.index + horizon - 1
        self.cold[self._booting >= minute.index] += minute.arrivals
        self.calls += minute.arrivals
        self.last = minute.index

    def minutes(self, slo: float, aim: float) -> float:
        """Return the keep-alive that would have kept the SLO."""
        guess = np.where(LADDER < START, GUESS, 0.0)
        share = (self.cold + guess * PRIOR_CALLS) / (self.calls + PRIOR_CALLS)
        kept = share <= MARGIN * aim * slo
        return float(LADDER[kept.argmax()] if kept.any() else LADDER[-1])

    def is_cold(self, index: int, minutes: float) -> bool:
        """Whether calls of a minute had to wait for a boot with such a keep-alive."""
        rung = int(np.searchsorted(LADDER, minutes))
        return bool(self._booting[min(rung, LADDER.size - 1)] >= index)

    def kept(self) -> Arrays:
        """Return what is kept over a restart."""
        return {
            "idle_cold": self.cold,
            "idle_booting": self._booting,
            "idle_sums": np.array([self.calls, self.last]),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take in what `kept` returned; of another ladder, nothing."""
        if arrays["idle_cold"].shape == LADDER.shape:
            self.cold, self._booting = arrays["idle_cold"], arrays["idle_booting"]
            self.calls, self.last = float(arrays["idle_sums"][0]), int(arrays["idle_sums"][1])


def keep_alive(instances: int, *, idle_s: float, keep_s: float) -> int:
    """Return how many instances are left of those wanted."""
    if idle_s <= keep_s:
        return max(instances, 1)
    return instances if instances > 1 else 0
