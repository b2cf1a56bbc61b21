"""A policy drives a service through all of its load."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from typing import NamedTuple

from services.scheduler.simulate.policy import Observation, Policy
from services.scheduler.simulate.service import Outcome, Service

REPORT_S = 43_200  # how often it is told how far it is
Told = Callable[[float], None]  # the share that is done


def replay(
    service: Service, policy: Policy, *, most_late: int | None = None, told: Told | None = None
) -> Replayed:
    """Go through all of a load, asking the policy; give up when more are late."""
    load, driver = service.load, Driver(service, policy)
    driver.go_on(load.warmup_s)
    service.begin_to_count()
    driver.decisions_ns = array("q")
    while service.t < load.seconds and (most_late is None or service.late <= most_late):
        driver.go_on(min(service.t + REPORT_S, load.seconds))
        if told:
            told(service.t / load.seconds)
    return Replayed(service.outcome(), driver.decisions_ns)


class Replayed(NamedTuple):
    """What came of it, and how long each decision took."""

    outcome: Outcome
    decisions_ns: array[int]


class Driver:
    """Asks a policy when it is time, and does what it wants; keeps how long each answer took."""

    def __init__(self, service: Service, policy: Policy) -> None:
        """Begin where the service is."""
        self.decisions_ns = array("q")
        self._service, self._policy = service, policy
        self._every_s = round(policy.every_s)
        self._next = service.t
        self._watch = Watch(service)

    def __repr__(self) -> str:
        """Tell who drives whom."""
        return f"<Driver {self._policy!r} of {self._service!r}>"

    def go_on(self, until: int) -> None:
        """Go on to the second `until`."""
        service = self._service
        while service.t < until:
            if service.t == self._next:
                self._ask()
            service.go_on(min(self._next, until))

    def _ask(self) -> None:
        seen = self._watch.look()
        began = time.perf_counter_ns()
        wanted = self._policy.wanted(seen)
        self.decisions_ns.append(time.perf_counter_ns() - began)
        self._next += self._every_s
        self._service.scale(wanted)


class Watch:
    """Sees what a policy may know of a service."""

    def __init__(self, service: Service) -> None:
        """Begin where the service is."""
        self._service = service
        self._first_at = service.load.first.data
        self._last = self._sums()

    def look(self) -> Observation:
        """Return what is, and what was since the last look."""
        service = self._service
        requests, instances, last = service.requests, service.instances, self._last
        now = self._last = self._sums()
        seconds, ended = now.t - last.t, now.ended - last.ended
        most, requests.most_demand = requests.most_demand, 0
        return Observation(
            now.t,
            instances.ready,
            instances.booting,
            service.terms.permits,
            now.demand - requests.queued,
            requests.queued,
            seconds,
            now.arrivals - last.arrivals,
            # whoever came is still here, was dropped, or was served
            now.arrivals - now.demand - now.dropped - last.arrivals + last.demand + last.dropped,
            now.late - last.late,
            now.dropped - last.dropped,
            (now.demand_sum - last.demand_sum) / seconds if seconds else 0.0,
            most,
            (now.service_s - last.service_s) / ended if ended else 0.0,
        )

    def _sums(self) -> _Sums:
        requests, t = self._service.requests, self._service.t
        return _Sums(
            t,
            self._first_at[t],
            requests.demand,
            requests.demand_sum,
            requests.late,
            requests.dropped,
            requests.ended,
            requests.service_s,
        )


class _Sums(NamedTuple):
    """What is now, and sums from the start."""

    t: int
    arrivals: int
    demand: int
    demand_sum: int
    late: int
    dropped: int
    ended: int
    service_s: float
