"""Knative's pod autoscaler on concurrency: a stable mode, and a panic mode for bursts.

    stable = ceil(mean of x over 60 s / T),  panic = ceil(mean of x over 6 s / T)

x in flight and queued, n ready (at least 1), T = utilization x permits; both are clipped to
[floor(n / 2), ceil(1000 n)]. Panic begins when panic / n >= 2, unclipped, and ends when that
has not been so for 60 s; in panic the larger of the two holds, and nothing is taken away.
With a scale-down delay, the largest result of that time holds. It begins in panic where
there is more than one instance.

Source: knative/serving, pkg/autoscaler/scaling/autoscaler.go; knative.dev, "Additional
autoscaling configuration for Knative Pod Autoscaler" (60 s, 10 %, 200 %, 1000, 2, no delay)
and "Configuring targets" (70 %).
"""

from __future__ import annotations

import math

from services.scheduler.simulate.peers.grid import grid
from services.scheduler.simulate.peers.windows import SlidingMax, SlidingMean
from services.scheduler.simulate.policy import Family, Observation, Terms

TICK_S = 2.0
STABLE_S = 60.0
PANIC_S = 6.0
PANIC_THRESHOLD = 2.0
UP_RATE = 1000
DOWN_RATE = 2
PUBLISHED = {"utilization": 0.7, "down_delay_s": 0.0}


def clipped(asked: int, ready: int) -> int:
    """Return what is asked for, within what one decision may change."""
    return min(max(asked, ready // DOWN_RATE), UP_RATE * ready)


class Kpa:
    """Knative's pod autoscaler."""

    every_s = TICK_S

    def __init__(self, _: Terms, *, utilization: float, down_delay_s: float) -> None:
        self._utilization = utilization
        self._stable = SlidingMean(STABLE_S)
        self._panic = SlidingMean(PANIC_S)
        self._largest = SlidingMax(down_delay_s)
        self._over_at: float | None = None  # in panic: the last time above the threshold
        self._most = 0  # in panic: what it has come to

    def __repr__(self) -> str:
        mode = "stable" if self._over_at is None else f"panic at {self._most}"
        return f"<Kpa at {self._utilization:.0%}, {mode}>"

    def wanted(self, seen: Observation) -> int:
        """Return how many instances there should be."""
        if not seen.seconds:
            return self._begin(seen)
        target = self._utilization * seen.permits
        stable = math.ceil(self._stable.add(seen.mean_demand, seen.seconds, seen.t) / target)
        panic = math.ceil(self._panic.add(seen.mean_demand, seen.seconds, seen.t) / target)
        ready = max(seen.ready, 1)
        self._look_for_panic(over=panic / ready >= PANIC_THRESHOLD, at=seen.t)
        wanted = clipped(stable, ready)
        if self._over_at is not None:
            wanted = self._most = max(self._most, wanted, clipped(panic, ready))
        return int(self._largest.add(wanted, seen.t))

    def _begin(self, seen: Observation) -> int:
        if seen.ready > 1:
            self._over_at, self._most = seen.t, seen.ready
        return seen.ready + seen.booting

    def _look_for_panic(self, *, over: bool, at: float) -> None:
        if over:
            self._over_at = at
        elif self._over_at is not None and self._over_at + STABLE_S < at:
            self._over_at = None
            self._most = 0


FAMILY = Family(
    name="kpa",
    make=Kpa,
    configurations=grid(
        PUBLISHED,
        utilization=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        down_delay_s=(0.0, 600.0),
    ),
)
