"""The guard: a load that falls for the first time may come back at once.

A fall is a minute below half of the last 15 minutes' maximum. Unless the series has fallen so
twice in the last week already, for 20 minutes

    n >= ceil(0.9 * the last 30 minutes' maximum / c)

as far as they are there. A client that restarts or a network that is gone looks like this.
Unit: instances.
Source: reference measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from services.scheduler.deciding.keeping import Arrays
from services.scheduler.deciding.minutes import WEEK, Minutes

FALL = 0.5
WITHIN = 15
HELD = 0.9
OF_THE_LAST = 30
FOR = 20
USUAL = 2  # falls in a week
_LEAST = 2.0  # permits: below, one call more or less is such a fall


@dataclass(slots=True)
class Guard:
    """The falls of the last week, and what is held until when (minutes since 1970)."""

    falls: list[int] = field(default_factory=list)
    level: float = 0.0
    until: int = 0

    def learn(self, minutes: Minutes) -> None:
        """Look at the newest minute."""
        now = minutes.last
        if minutes.load >= FALL * minutes.peak(WITHIN) or minutes.peak(WITHIN) < _LEAST:
            return
        if not self.falls or self.falls[-1] < now - OF_THE_LAST:  # else it is the same fall
            self.falls = [each for each in self.falls if each > now - WEEK]
            if len(self.falls) < USUAL:
                self.level, self.until = HELD * minutes.peak(OF_THE_LAST), now + FOR
            self.falls.append(now)

    def instances(self, now: int, permits: int) -> int:
        """Return the fewest instances; 0 where nothing is held."""
        return math.ceil(self.level / permits - 1e-3) if now < self.until else 0

    def kept(self) -> Arrays:
        """Return what is kept over a restart."""
        return {
            "falls": np.array(self.falls, dtype=np.int64),
            "guard": np.array([self.level, self.until]),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take in what `kept` returned."""
        self.falls = arrays["falls"].tolist()
        self.level, self.until = float(arrays["guard"][0]), int(arrays["guard"][1])
