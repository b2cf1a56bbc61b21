"""Kubernetes' HorizontalPodAutoscaler on the requests per instance, with its default behaviour.

    ratio   = x / (n target),  x in flight and queued, n ready, target = utilization x permits
    desired = ceil(ratio n),   and what there is if |ratio - 1| <= 0.1

Instances that boot count as idle on the way up: with b of them the ratio is taken again over
n + b, and nothing changes if it is then within the tolerance or points the other way.
Every 15 s, x being the mean since the last look; up by at most max(2 k, k + 4), of k wanted so
far; down to the largest recommendation of the last 300 s.

Source: kubernetes/kubernetes, pkg/controller/podautoscaler (replica_calculator.go,
horizontal.go) and pkg/apis/autoscaling/v2/defaults.go; kubernetes.io, "Horizontal Pod
Autoscaling". Kubernetes has no default target for a metric of one's own; 70 % is usual.
"""

from __future__ import annotations

import math

from services.scheduler.simulate.peers.bounds import bounded
from services.scheduler.simulate.peers.grid import grid
from services.scheduler.simulate.peers.windows import SlidingMax
from services.scheduler.simulate.policy import Family, Observation, Terms

TOLERANCE = 0.1
SYNC_S = 15.0
PUBLISHED = {"utilization": 0.7, "down_window_s": 300.0}


def recommended(load: float, target: float, *, current: int, ready: int, booting: int) -> int:
    """Return how many instances the metric asks for where `current` are wanted so far."""
    if ready + booting == 0:
        return math.ceil(load / target)
    ratio = load / (max(ready, 1) * target)
    if booting and ratio > 1:
        ratio = max(1.0, load / ((ready + booting) * target))  # those that boot count, and are idle
    within = 1 - TOLERANCE <= ratio <= 1 + TOLERANCE
    return current if within else math.ceil(load / target)


def reachable(current: int) -> int:
    """Return the most instances that there may be one period after there were `current`."""
    return max(2 * current, current + 4)


class Hpa:
    """Kubernetes' HorizontalPodAutoscaler."""

    every_s = SYNC_S

    def __init__(self, terms: Terms, *, utilization: float, down_window_s: float) -> None:
        self.utilization = utilization
        self._terms = terms
        self._wanted = 0
        self._recommendations = SlidingMax(down_window_s)

    def __repr__(self) -> str:
        return f"<Hpa at {self.utilization:.0%}>"

    def wanted(self, seen: Observation) -> int:
        """Return how many instances there should be."""
        if not seen.seconds:
            self._wanted = seen.ready + seen.booting
            self._recommendations.add(self._wanted, seen.t)
            return self._wanted
        target, current = self.utilization * seen.permits, self._wanted
        asked = recommended(
            seen.mean_demand, target, current=current, ready=seen.ready, booting=seen.booting
        )
        largest = int(self._recommendations.add(asked, seen.t))
        allowed = min(asked, reachable(current)) if asked > current else min(current, largest)
        self._wanted = bounded(allowed, self._terms)
        return self._wanted


FAMILY = Family(
    name="hpa",
    make=Hpa,
    configurations=grid(
        PUBLISHED,
        utilization=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        down_window_s=(300.0, 900.0),
    ),
)
