"""A scheduler that forecasts and decides every five minutes.

    level = a x + (1 - a)(level + trend),  trend = b (level - last level) + (1 - b) trend
    desired = ceil((level + 4.5 trend) / (utilization x permits))

Holt's linear trend over the mean demand x of each minute; every 300 s, looking 4.5 minutes
ahead to the middle of what the decision covers.

Source: what is known of the scheduler of Workers AI, which reports a measured, an estimated
and a forecast utilization; C. C. Holt, "Forecasting seasonals and trends by exponentially
weighted moving averages" (1957). Its smoothing is not published. The first configuration is
slow: with b of 0.1 and more it takes the end of a backlog for a fall that goes on, has too few
instances for the next five minutes, and so makes the next backlog.
"""

from __future__ import annotations

import math

from services.scheduler.simulate.peers.grid import grid
from services.scheduler.simulate.policy import Family, Observation, Terms

SAMPLE_S = 60.0
DECISION_S = 300.0
AHEAD = 4.5  # samples


class Ai5m:
    """Holt's forecast, every five minutes."""

    every_s = SAMPLE_S

    def __init__(self, _: Terms, *, utilization: float, a: float, b: float) -> None:
        self._utilization = utilization
        self._a, self._b = a, b
        self._level: float | None = None
        self._trend = 0.0
        self._wanted = 0

    def __repr__(self) -> str:
        return f"<Ai5m level {self._level} trend {self._trend:g}>"

    def wanted(self, seen: Observation) -> int:
        """Return how many instances there should be."""
        if seen.seconds:
            self._take(seen.mean_demand)
        if self._level is None:
            self._wanted = seen.ready + seen.booting
        elif seen.t % DECISION_S == 0:
            expected = max(0.0, self._level + AHEAD * self._trend)
            self._wanted = math.ceil(expected / (self._utilization * seen.permits))
        return self._wanted

    def _take(self, demand: float) -> None:
        if self._level is None:
            self._level = demand
            return
        last = self._level
        self._level = self._a * demand + (1 - self._a) * (last + self._trend)
        self._trend = self._b * (self._level - last) + (1 - self._b) * self._trend


FAMILY = Family(
    name="ai5m",
    make=Ai5m,
    configurations=grid(
        {"utilization": 0.7, "a": 0.3, "b": 0.03},
        utilization=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        a=(0.3,),
        b=(0.01, 0.03),
    ),
)
