"""Models that share a fleet of so many places, one for an instance each.

An instance that drains keeps its place until it is empty. Who wants fewer instances has fewer at
once; who wants more gets what is free, first come, first served, and waits for the rest. Where all
policies know what their instances are worth, and not all that is wanted fits, that decides.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from services.scheduler.deciding.minutes import Floats
from services.scheduler.deciding.sharing import Share, shared
from services.scheduler.simulate.load import Load
from services.scheduler.simulate.policy import Policy
from services.scheduler.simulate.replay import REPORT_S, Told, Watch
from services.scheduler.simulate.service import Outcome, Service

MINUTE_S = 60  # what instances are worth is found as often
STEP_S = 5  # how often places that have become free are looked for


@runtime_checkable
class Valuing(Policy, Protocol):
    """A policy that knows what it is worth to have so many instances."""

    def worth(self, most: int) -> Floats:
        """Return the work served in time, in calls in service, with 0, 1, ... `most` instances."""
        ...


def work_in_time(loads: Sequence[Load], outcomes: Sequence[Outcome]) -> float:
    """Return the seconds of service of the requests that were not late."""
    each = zip(loads, outcomes, strict=True)
    return sum(outcome.in_time * load.service_mean_s for load, outcome in each)


class FixedFleet:
    """Services that are scaled within so many places."""

    def __init__(self, services: Sequence[Service], places: int) -> None:
        """Begin at 0; raises ValueError where the minima do not fit, or lengths differ."""
        self.services = services
        self.places = places
        self.seconds = services[0].load.seconds
        self.warmup_s = services[0].load.warmup_s
        self._turn = 0
        if (least := sum(each.terms.minimum for each in services)) > places:
            raise ValueError(f"expected at least {least} places, one for each promised instance")
        if any(each.load.seconds != self.seconds for each in services):
            raise ValueError("expected traces of one length")

    def __repr__(self) -> str:
        return f"<FixedFleet t={self.t} {self.free}/{self.places} free>"

    @property
    def t(self) -> int:
        """The second that it has come to."""
        return self.services[0].t

    @property
    def free(self) -> int:
        """Places that nobody has."""
        return self.places - sum(each.instances.present(each.t) for each in self.services)

    def have(self, allowed: Sequence[int]) -> None:
        """Have each go down to what it may have, and up as far as there is room; in turns."""
        changes = [
            (service, count)
            for service, count in zip(self.services, allowed, strict=True)
            if count != service.has
        ]
        if not changes:
            return
        for service, count in changes:
            if count < service.has:
                service.scale(count)
        free = self.free
        self._turn = (self._turn + 1) % len(changes)
        for service, count in changes[self._turn :] + changes[: self._turn]:
            more = min(count - service.has, free)
            if more > 0:
                service.scale(service.has + more)
                free -= more

    def follow(self, allowed: Sequence[int], until: int) -> None:
        """Go on to the second `until`, with what each may have as soon as there is room."""
        while self.t < until:
            self.have(allowed)
            is_so = all(each.has == n for each, n in zip(self.services, allowed, strict=True))
            end = until if is_so else min(self.t + STEP_S, until)
            for service in self.services:
                service.go_on(end)

    def begin_to_count(self) -> None:
        """Leave all that was so far out of the outcomes."""
        for service in self.services:
            service.begin_to_count()

    def outcomes(self) -> list[Outcome]:
        """Return what came of each."""
        return [service.outcome() for service in self.services]


class Asking:
    """Asks each model's policy when it is time, and shares the places by the answers."""

    def __init__(self, fleet: FixedFleet, policies: Sequence[Policy]) -> None:
        self.decisions_ns = array("q")
        self._fleet = fleet
        self._shared_case: object = None  # a minute, and what is wanted and had in it
        self._shared: Sequence[int] = ()
        self._models = [
            _Model(service, policy, self.decisions_ns)
            for service, policy in zip(fleet.services, policies, strict=True)
        ]

    def __repr__(self) -> str:
        return f"<Asking of {self._fleet!r}>"

    def go_on(self, until: int) -> None:
        """Go on to the second `until`."""
        fleet = self._fleet
        while fleet.t < until:
            for model in self._models:
                model.ask_if_due(fleet.t)
            fleet.follow(self._allowed(), min(until, *(model.next_ask for model in self._models)))

    def _allowed(self) -> Sequence[int]:
        wanted = [model.wanted for model in self._models]
        if sum(wanted) <= self._fleet.places:
            return wanted
        case = (self._fleet.t // MINUTE_S, wanted, [each.has for each in self._fleet.services])
        if case != self._shared_case:
            self._shared_case, self._shared = case, self._share(wanted)
        return self._shared

    def _share(self, wanted: Sequence[int]) -> Sequence[int]:
        shares = [model.share(self._fleet.places) for model in self._models]
        known = [share for share in shares if share is not None]
        return wanted if len(known) < len(shares) else shared(known, self._fleet.places)


class _Model:
    """A service with its policy, and what it wanted last."""

    def __init__(self, service: Service, policy: Policy, decisions_ns: array[int]) -> None:
        self.wanted = service.terms.minimum
        self.next_ask = service.t
        self._service, self._policy, self._decisions_ns = service, policy, decisions_ns
        self._watch = Watch(service)
        self._every_s = round(policy.every_s)

    def ask_if_due(self, t: int) -> None:
        if t < self.next_ask:
            return
        self.next_ask = t + self._every_s
        terms = self._service.terms
        seen = self._watch.look()
        began = time.perf_counter_ns()
        wanted = self._policy.wanted(seen)
        self._decisions_ns.append(time.perf_counter_ns() - began)
        self.wanted = max(terms.minimum, min(wanted, terms.maximum))

    def share(self, places: int) -> Share | None:
        if not isinstance(self._policy, Valuing):
            return None
        return Share(
            worth=self._policy.worth(min(self.wanted, places)),
            least=self._service.terms.minimum,
            most=self.wanted,
            has=self._service.has,
        )


def replay_fleet(
    services: Sequence[Service],
    policies: Sequence[Policy],
    places: int,
    *,
    told: Told = lambda share: None,
) -> tuple[list[Outcome], array[int]]:
    """Go through all of the loads; return what comes of each, and how long decisions took."""
    fleet = FixedFleet(services, places)
    asking = Asking(fleet, policies)
    asking.go_on(fleet.warmup_s)
    fleet.begin_to_count()
    del asking.decisions_ns[:]
    while fleet.t < fleet.seconds:
        asking.go_on(min(fleet.t + REPORT_S, fleet.seconds))
        told(fleet.t / fleet.seconds)
    return fleet.outcomes(), asking.decisions_ns
