"""The clairvoyant of a fixed fleet: knows all traces, and shares the places by what is to come.

Each minute it weighs what would be served in time in the minutes after a boot with 0, 1, ... places
for each model: of every second, the arrivals if the demand then fits (the demand that there is if
nobody waits), else none. The shares are exact for that (`deciding.sharing`). It does so for some
numbers of minutes, and some reluctances to move a place, and takes what serves most. No proven
bound: a reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from services.scheduler.deciding.minutes import Floats
from services.scheduler.deciding.sharing import Share, shared
from services.scheduler.simulate.fixed_fleet import FixedFleet, work_in_time
from services.scheduler.simulate.load import Load
from services.scheduler.simulate.replay import Told
from services.scheduler.simulate.service import Outcome, Service

MINUTE_S = 60
AHEAD_MINUTES = (3, 10, 30, 120)
SWITCHES = (1.05, 1.5)
TRIED = tuple(product(AHEAD_MINUTES, SWITCHES))


def fleet_clairvoyant(
    new_services: Callable[[], Sequence[Service]],
    places: int,
    *,
    told: Told = lambda share: None,
) -> list[Outcome]:
    """Return what comes of the best plan that was found; every try uses services up."""
    some = new_services()
    loads = [each.load for each in some]
    served = [_served(each.load, each.terms.permits, places) for each in some]
    found = []
    for ahead, switch in TRIED:
        fleet = FixedFleet(new_services(), places)
        found.append(_play(fleet, served, ahead=ahead, switch=switch))
        told(len(found) / len(TRIED))
    return max(found, key=lambda each: work_in_time(loads, each))


def _play(
    fleet: FixedFleet, served: Sequence[Floats], *, ahead: int, switch: float
) -> list[Outcome]:
    """Follow the plan of one number of minutes, and one reluctance."""
    services = fleet.services
    boot = round(services[0].terms.boot_s / MINUTE_S)
    for start in range(-(-fleet.seconds // MINUTE_S)):
        if fleet.t == fleet.warmup_s // MINUTE_S * MINUTE_S:
            fleet.begin_to_count()
        shares = [
            Share(
                worth=_between(minutes, start, start + boot + ahead),
                least=service.terms.minimum,
                most=service.terms.maximum,
                has=service.has,
            )
            for service, minutes in zip(services, served, strict=True)
        ]
        allowed = shared(shares, fleet.places, switch=switch)
        fleet.follow(allowed, min((start + 1) * MINUTE_S, fleet.seconds))
    return fleet.outcomes()


def _served(load: Load, permits: int, places: int) -> Floats:
    """Return the work of all minutes before each that is served with 0, 1, ... places."""
    minutes = -(-load.seconds // MINUTE_S)
    needed = np.minimum(-(-load.demand // permits), places + 1)
    cells = np.arange(load.seconds) // MINUTE_S * (places + 2) + needed
    arrivals = np.bincount(cells, weights=load.arrivals, minlength=minutes * (places + 2))
    by_need = arrivals.reshape(minutes, places + 2).cumsum(axis=1)[:, : places + 1]
    by_need *= load.service_mean_s
    return np.concatenate((np.zeros((1, places + 1)), by_need.cumsum(axis=0)))


def _between(sums: Floats, start: int, end: int) -> Floats:
    last = len(sums) - 1
    return np.asarray(sums[min(end, last)] - sums[min(start, last)])
