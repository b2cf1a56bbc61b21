"""One model in simulated time: its requests and its instances, up to the second `t`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from services.scheduler.simulate.instances import Instances
from services.scheduler.simulate.load import Load
from services.scheduler.simulate.policy import Terms


class Requests(Protocol):
    """What becomes of a load's requests; all counts are from the start."""

    queued: int  # now
    demand: int  # now, in flight and queued
    most_demand: int  # since it was last set to 0
    demand_sum: int  # over the steps
    ended: int  # whose service times are in service_s
    service_s: float
    late: int
    very_late: int
    dropped: int
    longest_wait: int  # since it was last set to 0
    late_by: NDArray[np.int32]  # in each second

    def run(self, start: int, end: int, ready: int) -> None:
        """Go through the steps from `start` until before `end`, with so many instances."""
        ...

    def drain(self, t: int, ready: int, leaving: int) -> list[int]:
        """Take so many of the ready instances away; return when each is empty."""
        ...

    def end(self, t: int) -> None:
        """Have those counted that are still here."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What came of it; counts are those since the end of the warm-up."""

    requests: int
    late: int
    very_late: int
    dropped: int
    longest_wait_s: int
    scale_actions: int
    instances_started: int
    paid_s: int
    paid: NDArray[np.int64]  # instances in each second, from the start
    serving: NDArray[np.int64]
    late_by: NDArray[np.int32]  # who became late in each second, from the start

    @property
    def instance_hours(self) -> float:
        """What it costs."""
        return self.paid_s / 3600

    @property
    def in_time(self) -> int:
        """Requests that were not late."""
        return self.requests - self.late

    @property
    def late_share(self) -> float:
        """Requests that waited at least 1 s, of all."""
        return self.late / max(self.requests, 1)

    @property
    def very_late_share(self) -> float:
        """Requests that waited at least 10 s, of all."""
        return self.very_late / max(self.requests, 1)


class Service:
    """Requests and instances; who scales them is told elsewhere."""

    def __init__(self, load: Load, requests: Requests, instances: Instances, terms: Terms) -> None:
        """Begin at 0."""
        self.t = 0
        self.load, self.terms = load, terms
        self.requests, self.instances = requests, instances
        self._uncounted = self._counts()

    def __repr__(self) -> str:
        """Tell how far it is."""
        return f"<Service t={self.t}/{self.load.seconds} {self.instances!r} {self.requests!r}>"

    @property
    def has(self) -> int:
        """Its instances, ready and booting."""
        return self.instances.ready + self.instances.booting

    @property
    def late(self) -> int:
        """Who became late since figures count."""
        return self.requests.late - self._uncounted.late

    def go_on(self, until: int) -> None:
        """Go on to the second `until`."""
        requests, instances = self.requests, self.instances
        while self.t < until:
            end = min(until, instances.next_ready)
            requests.run(self.t, end, instances.ready)
            self.t = end
            if end == instances.next_ready:
                instances.settle(end)

    def scale(self, wanted: int) -> None:
        """Have so many instances, ready and booting, within the bounds."""
        wanted = max(self.terms.minimum, min(wanted, self.terms.maximum))
        self.instances.scale(self.t, wanted, self.requests.drain)

    def begin_to_count(self) -> None:
        """Leave all that was so far out of the outcome."""
        self.requests.longest_wait = 0
        self._uncounted = self._counts()

    def outcome(self) -> Outcome:
        """Return what came of it."""
        self.requests.end(self.t)
        counts, before = self._counts(), self._uncounted
        paid = self.instances.paid()
        return Outcome(
            requests=counts.requests - before.requests,
            late=counts.late - before.late,
            very_late=counts.very_late - before.very_late,
            dropped=counts.dropped - before.dropped,
            longest_wait_s=self.requests.longest_wait,
            scale_actions=counts.actions - before.actions,
            instances_started=counts.started - before.started,
            paid_s=int(paid[before.t : self.t].sum()),
            paid=paid,
            serving=self.instances.serving(),
            late_by=self.requests.late_by,
        )

    def _counts(self) -> _Counts:
        requests, instances = self.requests, self.instances
        return _Counts(
            t=self.t,
            requests=int(self.load.first[self.t]),
            late=requests.late,
            very_late=requests.very_late,
            dropped=requests.dropped,
            actions=instances.actions,
            started=instances.started,
        )


class _Counts(NamedTuple):
    """What is counted, from the start."""

    t: int
    requests: int
    late: int
    very_late: int
    dropped: int
    actions: int
    started: int
