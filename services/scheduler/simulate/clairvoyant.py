"""The clairvoyant: knows the trace, and is what policies are compared with; no proven bound.

It takes the demand that there is if nobody waits, smoothed over some seconds, and has room for it:

    n(t) = ceil((m(t) + z sqrt(m(t))) / c),   m the mean around t, c permits

fills dips that are no longer than a boot, as going down would save nothing, and boots exactly early
enough. z is the least with which at most 0.1 % are late. Then it removes instances as long as that
still holds: those first that save most for each request that they make late (`removals`). It does
so for some widths of smoothing, and takes the cheapest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.scheduler.simulate.removals import Block, blocks_of, in_order, without
from services.scheduler.simulate.service import Outcome, Service
from services.scheduler.simulate.windows import closed, mean_around, most_ahead

LATE_SHARE = 0.001  # always, whatever the policies' SLO
WIDTHS_S = (1, 15, 60, 180, 600)
WORTH_REMOVING = 2  # widths, the cheapest ones
Z_BETWEEN, Z_STEPS = (-3.0, 5.0), 8  # of the search
SETTLING_S = 3600  # before figures count, schedules are as they will be
Counts = NDArray[np.int64]
Play = Callable[[Counts], Outcome]


class Found(NamedTuple):
    """A schedule of ready instances, and what comes of it."""

    ready: Counts
    outcome: Outcome

    @property
    def holds(self) -> bool:
        """Whether as few are late as must be."""
        return self.outcome.late_share <= LATE_SHARE

    @property
    def cost(self) -> tuple[float, int]:
        """Order those that hold the share by what they cost, before those that do not."""
        return max(self.outcome.late_share, LATE_SHARE), self.outcome.paid_s


def clairvoyant(new_service: Callable[[], Service]) -> Outcome:
    """Return what comes of the cheapest schedule found; every try uses a service up."""
    some = new_service()
    load, terms, boot_s = some.load, some.terms, round(some.terms.boot_s)
    unseen = max(0, load.warmup_s - SETTLING_S)

    def play(ready: Counts) -> Outcome:
        wanted = most_ahead(ready, boot_s + 1)
        wanted[:unseen] = terms.maximum  # nobody looks, and nobody waits
        return played(new_service(), wanted)

    def schedule(needed: NDArray[np.float64]) -> Counts:
        counts = np.ceil(needed / terms.permits).astype(np.int64)
        return closed(np.clip(counts, terms.minimum, terms.maximum), boot_s)

    means = [mean_around(load.demand, width) for width in WIDTHS_S]
    found = sorted((_with_least_room(each, schedule, play) for each in means), key=_cost)
    for each in [each for each in found if each.holds][:WORTH_REMOVING]:
        blocks = blocks_of(load, each.ready, terms=terms, since=unseen)
        found.append(_without_most(each, in_order(blocks), play))
    return min(found, key=_cost).outcome


def played(service: Service, wanted: Counts) -> Outcome:
    """Have a service follow a schedule of instances, ready and booting; the first are ready."""
    load = service.load
    service.instances.begin_with(int(wanted[0]))
    changes = np.flatnonzero(np.diff(wanted, prepend=-1))
    for t in np.union1d(changes, [load.warmup_s]).tolist():
        service.go_on(t)
        if t == load.warmup_s:
            service.begin_to_count()
        service.scale(int(wanted[t]))
    service.go_on(load.seconds)
    return service.outcome()


def _cost(found: Found) -> tuple[float, int]:
    return found.cost


def _with_least_room(
    mean: NDArray[np.float64], schedule: Callable[[NDArray[np.float64]], Counts], play: Play
) -> Found:
    """Search for the least z that holds the share; the highest one if that does not."""

    def tried(z: float) -> Found:
        ready = schedule(mean + z * np.sqrt(mean))
        return Found(ready, play(ready))

    low, high = Z_BETWEEN
    best = tried(high)
    for _ in range(Z_STEPS if best.holds else 0):
        middle = (low + high) / 2
        found = tried(middle)
        if found.holds:
            best, high = min(best, found, key=_cost), middle
        else:
            low = middle
    return best


def _without_most(start: Found, blocks: Sequence[Block], play: Play) -> Found:
    """Search for how many blocks may be removed, one after the other."""
    best, low, high = start, 0, len(blocks)
    while low < high:
        middle = (low + high + 1) // 2
        ready = without(start.ready, blocks[:middle])
        found = Found(ready, play(ready))
        if found.holds:
            best, low = min(best, found, key=_cost), middle
        else:
            high = middle - 1
    return best
