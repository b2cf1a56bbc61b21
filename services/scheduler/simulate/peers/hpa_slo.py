"""Kubernetes' autoscaler with a utilization that a loop on the service-level objective moves.

Each minute, with r = late / (share x slo x mean requests per minute):

    log utilization -= gain (min(r, 1000) - 1) / 1440

so that a minute without late requests raises it a little, and late ones lower it. It is the
dual ascent that priced quantiles use, put before the best known reactive rule: it tells how
much of their gain is the loop's, and how much the forecast's. No project publishes it, so
there is no published configuration; the first is the middle of the grid.
"""

from __future__ import annotations

import math

from services.scheduler.simulate.peers.grid import grid
from services.scheduler.simulate.peers.hpa import SYNC_S, Hpa
from services.scheduler.simulate.policy import Family, Observation, Terms

DAY_S = 86400.0
LARGEST_RATIO = 1000.0
START, LOWEST, HIGHEST = 0.5, 0.05, 1.0  # utilization


def moved(utilization: float, *, ratio: float, gain: float, seconds: float) -> float:
    """Return the utilization to aim at after some seconds at such a ratio of late requests."""
    step = gain * (min(ratio, LARGEST_RATIO) - 1) * seconds / DAY_S
    return min(HIGHEST, max(LOWEST, utilization * math.exp(-step)))


class HpaSlo:
    """Kubernetes' autoscaler, kept to an objective."""

    every_s = SYNC_S

    def __init__(self, terms: Terms, *, share: float, gain: float, down_window_s: float) -> None:
        self._hpa = Hpa(terms, utilization=START, down_window_s=down_window_s)
        self._late_share = share * terms.slo
        self._gain = gain
        self._arrivals = 0
        self._seconds = 0.0

    def __repr__(self) -> str:
        return f"<HpaSlo of {self._hpa!r}>"

    def wanted(self, seen: Observation) -> int:
        """Return how many instances there should be."""
        self._arrivals += seen.arrivals
        self._seconds += seen.seconds
        if seen.seconds and self._arrivals:
            usual = self._arrivals / self._seconds * seen.seconds
            self._hpa.utilization = moved(
                self._hpa.utilization,
                ratio=seen.late / (self._late_share * usual),
                gain=self._gain,
                seconds=seen.seconds,
            )
        return self._hpa.wanted(seen)


FAMILY = Family(
    name="hpa-slo",
    make=HpaSlo,
    configurations=grid(
        {"share": 0.6, "gain": 0.1, "down_window_s": 300.0},
        share=(0.3, 0.6, 1.0),
        gain=(0.03, 0.1, 0.3),
        down_window_s=(300.0,),
    ),
)
