"""NVIDIA Dynamo's planner, throughput-based: predict the requests, divide by an engine's rate.

    desired = ceil(predicted requests of the next interval / interval / engine rate)

Every 180 s. The engine rate is profiled beforehand: utilization x permits / mean service time,
where the utilization stands for how much of its throughput an engine gives within its latency.
Two of its predictors: the last value, and a Kalman filter on a local linear trend

    level' = level + trend,  trend' = trend,  with q_level 1, q_trend 0.1, r 10

(ARIMA, the default, and Prophet need libraries of hundreds of megabytes and a fit per
interval). The correction by measured against profiled latency is left out: here the profile is
the truth.

Source: ai-dynamo/dynamo, components/src/dynamo/planner (load_predictor, planner defaults).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from services.scheduler.simulate.peers.grid import grid
from services.scheduler.simulate.policy import Family, Observation, Terms

ADJUSTMENT_S = 180.0
Q_LEVEL, Q_TREND, R = 1.0, 0.1, 10.0
FIRST_VARIANCE = 1000.0


class Predictor(Protocol):
    """Says what comes next from what has come."""

    def next_after(self, value: float) -> float:
        """Take in a value, and return the one to expect."""
        ...


class Constant:
    """What has just been will be."""

    def next_after(self, value: float) -> float:
        """Return the value."""
        return value


@dataclass(slots=True)
class Kalman:
    """A filter on a level and its trend; begins at the first value that is not 0."""

    level: float = 0.0
    trend: float = 0.0
    level_variance: float = FIRST_VARIANCE
    covariance: float = 0.0
    trend_variance: float = FIRST_VARIANCE
    begun: bool = False

    def next_after(self, value: float) -> float:
        """Correct by the value, go one step ahead, and return the level there."""
        if not self.begun:
            self.level, self.begun = value, value > 0
        else:
            self._correct(value)
        if self.begun:
            self._go_ahead()
        return max(0.0, self.level)

    def _correct(self, value: float) -> None:
        error = value - self.level
        to_level = self.level_variance / (self.level_variance + R)
        to_trend = self.covariance / (self.level_variance + R)
        self.level += to_level * error
        self.trend += to_trend * error
        self.trend_variance -= to_trend * self.covariance
        self.covariance *= 1 - to_level
        self.level_variance *= 1 - to_level

    def _go_ahead(self) -> None:
        self.level += self.trend
        self.level_variance += 2 * self.covariance + self.trend_variance + Q_LEVEL
        self.covariance += self.trend_variance
        self.trend_variance += Q_TREND


class Dynamo:
    """Dynamo's planner."""

    every_s = ADJUSTMENT_S

    def __init__(self, terms: Terms, *, utilization: float, kalman: float) -> None:
        self._engine_rate = utilization * terms.permits / terms.service_mean_s
        self._predictor: Predictor = Kalman() if kalman else Constant()

    def __repr__(self) -> str:
        return f"<Dynamo at {self._engine_rate:g} requests/s, {self._predictor!r}>"

    def wanted(self, seen: Observation) -> int:
        """Return how many instances there should be."""
        if not seen.seconds:
            return seen.ready + seen.booting
        expected = self._predictor.next_after(seen.arrivals)
        return math.ceil(expected / seen.seconds / self._engine_rate)


FAMILY = Family(
    name="dynamo",
    make=Dynamo,
    configurations=grid(
        {"utilization": 0.7, "kalman": 0.0},
        utilization=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        kalman=(0.0, 1.0),
    ),
)
