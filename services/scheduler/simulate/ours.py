"""Priced quantiles as a policy: the very series that the scheduler decides with."""

from __future__ import annotations

import numpy as np

from services.scheduler.deciding import Decision, Series, Situation, Span
from services.scheduler.deciding.minutes import Floats
from services.scheduler.deciding.residuals import SHARES
from services.scheduler.deciding.worth import spared
from services.scheduler.simulate.peers.grid import grid
from services.scheduler.simulate.policy import Family, Observation, Terms

LOOK_S = 5.0
TICK_S = 60.0


class Ours:
    """Tells a series what was, and asks it: a decision a minute, a look every 5 s."""

    every_s = LOOK_S

    def __init__(self, terms: Terms, *, aim: float) -> None:
        self._terms = terms
        self._aim = aim
        self.series = Series()
        self._made: Decision | None = None

    def __repr__(self) -> str:
        return f"<Ours {self.series!r}>"

    def wanted(self, seen: Observation) -> int:
        """Return how many instances there should be."""
        if seen.seconds > 0:
            self.series.observe(_span(seen))
        now = Situation(
            at=seen.t,
            ready=seen.ready,
            booting=seen.booting,
            permits=seen.permits,
            boot_s=self._terms.boot_s,
            min=self._terms.minimum,
            max=self._terms.maximum,
            slo=self._terms.slo,
            aim=self._aim,
        )
        is_due = seen.t % TICK_S < LOOK_S
        self._made = self.series.decide(now) if is_due else self.series.floor(now)
        return self._made.instances

    def worth(self, most: int) -> Floats:
        """Return the work served in time, in calls in service, with 0, 1, ... `most` instances."""
        if self._made is None:
            return np.zeros(most + 1)
        loads, service_s = np.array(self._made.quantiles), self._made.service_s
        calls = spared(loads, SHARES, self._terms.permits, service_s, most)
        return calls * (service_s / TICK_S)


def _span(seen: Observation) -> Span:
    room = seen.ready * seen.permits
    return Span(
        until=seen.t,
        seconds=seen.seconds,
        load=seen.mean_demand,
        arrivals=seen.arrivals,
        late=seen.late,
        service_s=seen.mean_service_s,
        saturated=float(seen.queued > 0 or seen.mean_demand > room),
    )


FAMILY = Family(
    name="ours",
    make=Ours,
    configurations=grid({"aim": 1.0}, aim=(0.6, 0.8, 1.0)),
)
