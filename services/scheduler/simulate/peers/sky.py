"""SkyServe's request-rate autoscaler: queries per second, with a delay each way.

    desired = ceil(requests of the last 60 s / 60 / target)

Every 20 s; it counts when it has been above what there should be 15 times in a row (300 s),
or below 60 times (1200 s). The target, in requests per second and replica, is the operator's:
here utilization x permits / mean service time, so that one configuration fits all models.

Source: skypilot-org/skypilot, sky/serve/autoscalers.py and sky/serve/constants.py (60 s, 20 s,
300 s, 1200 s). There is no default target.
"""

from __future__ import annotations

import math

from services.scheduler.simulate.peers.bounds import bounded
from services.scheduler.simulate.peers.grid import grid
from services.scheduler.simulate.peers.persistence import Persistence
from services.scheduler.simulate.peers.windows import SlidingMean
from services.scheduler.simulate.policy import Family, Observation, Terms

DECISION_S = 20.0
WINDOW_S = 60.0
PUBLISHED = {"utilization": 0.7, "up_delay_s": 300.0, "down_delay_s": 1200.0}


class Sky:
    """SkyServe's request-rate autoscaler."""

    every_s = DECISION_S

    def __init__(
        self, terms: Terms, *, utilization: float, up_delay_s: float, down_delay_s: float
    ) -> None:
        self._target = utilization * terms.permits / terms.service_mean_s
        self._terms = terms
        self._wanted = 0
        self._rate = SlidingMean(WINDOW_S)
        self._persistence = Persistence(
            up_looks=max(1, int(up_delay_s / DECISION_S)),
            down_looks=max(1, int(down_delay_s / DECISION_S)),
        )

    def __repr__(self) -> str:
        return f"<Sky at {self._target:g} requests/s, {self._persistence!r}>"

    def wanted(self, seen: Observation) -> int:
        """Return how many instances there should be."""
        if not seen.seconds:
            self._wanted = seen.ready + seen.booting
            return self._wanted
        rate = self._rate.add(seen.arrivals / seen.seconds, seen.seconds, seen.t)
        asked = bounded(math.ceil(rate / self._target), self._terms)
        self._wanted = self._persistence.take(asked, self._wanted) if self._wanted else asked
        return self._wanted


FAMILY = Family(
    name="sky",
    make=Sky,
    configurations=grid(
        PUBLISHED,
        utilization=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        up_delay_s=(0.0, 60.0, 300.0),
        down_delay_s=(1200.0,),
    ),
)
