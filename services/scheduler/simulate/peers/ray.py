"""Ray Serve's default policy: the ongoing requests per replica, with a delay each way.

    error   = mean of x over 30 s / (target n),  target = utilization x permits
    desired = ceil(n (1 + factor (error - 1)))

x in flight and queued, n running; one less where the factor alone would keep it from
falling. `desired` counts when it has been above what there should be for 30 s of looks in a
row, or below for 600 s, and is then what it is at the last of them. Ray looks every 0.1 s, at
metrics that arrive every 10 s; here it is asked every 10 s, which decides the same.

Source: ray-project/ray, python/ray/serve/autoscaling_policy.py and AutoscalingConfig
(target 2 where a replica takes 5, so 40 %; 30 s, 600 s, factor 1, look back 30 s).
"""

from __future__ import annotations

import math

from services.scheduler.simulate.peers.bounds import bounded
from services.scheduler.simulate.peers.grid import grid
from services.scheduler.simulate.peers.persistence import Persistence
from services.scheduler.simulate.peers.windows import SlidingMean
from services.scheduler.simulate.policy import Family, Observation, Terms

METRICS_S = 10.0
LOOK_BACK_S = 30.0
PUBLISHED = {"utilization": 0.4, "up_delay_s": 30.0, "down_delay_s": 600.0}


def desired(load: float, target: float, *, running: int, factor: float) -> int:
    """Return how many replicas the ongoing requests ask for."""
    if running == 0:
        return math.ceil(factor) if load else 0
    plain = load / target
    scaled = math.ceil(running + factor * (plain - running))
    return scaled - 1 if math.ceil(plain) < running == scaled else scaled


class Ray:
    """Ray Serve's default policy."""

    every_s = METRICS_S

    def __init__(
        self,
        terms: Terms,
        *,
        utilization: float,
        up_delay_s: float,
        down_delay_s: float,
        factor: float = 1.0,
    ) -> None:
        self._terms = terms
        self._utilization = utilization
        self._factor = factor
        self._wanted = 0
        self._load = SlidingMean(LOOK_BACK_S)
        self._persistence = Persistence(
            up_looks=int(up_delay_s / METRICS_S) + 1,
            down_looks=int(down_delay_s / METRICS_S) + 1,
        )

    def __repr__(self) -> str:
        return f"<Ray at {self._utilization:.0%}, {self._persistence!r}>"

    def wanted(self, seen: Observation) -> int:
        """Return how many instances there should be."""
        if not seen.seconds:
            self._wanted = seen.ready + seen.booting
            return self._wanted
        load = self._load.add(seen.mean_demand, seen.seconds, seen.t)
        target = self._utilization * seen.permits
        asked = desired(load, target, running=seen.ready, factor=self._factor)
        if seen.ready == 0:  # from nothing there is no delay
            self._wanted = max(bounded(asked, self._terms), self._wanted)
        else:
            self._wanted = self._persistence.take(bounded(asked, self._terms), self._wanted)
        return self._wanted


FAMILY = Family(
    name="ray",
    make=Ray,
    configurations=grid(
        PUBLISHED,
        utilization=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        up_delay_s=(0.0, 30.0),
        down_delay_s=(600.0,),
    ),
)
