"""The clairvoyant: knows the trace, and is what policies are compared with; no proven bound.

It takes the demand that there is if nobody waits, smoothed over some seconds, and has room for it:

    n(t) = ceil((m(t) + z sqrt(m(t))) / c),   m the mean around t, c permits

fills dips that are no longer than a boot, as going down would save nothing, and boots exactly early
enough. z is such that a third of those are late who may be. Then it removes instances, as long as
at most 0.1 % are late: those first that save most for each request that they make late
(`removals`). It does so for some widths of smoothing, and takes the cheapest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.scheduler.simulate.removals import blocks_of, in_order, without
from services.scheduler.simulate.service import Outcome, Service
from services.scheduler.simulate.windows import closed, mean_around, most_ahead

LATE_SHARE = 0.001  # always, whatever the policies' SLO
BEFORE_REMOVING = LATE_SHARE / 3
WIDTHS_S = (1, 15, 60)
WORTH_REMOVING = 2  # widths, the cheapest ones
Z_BETWEEN = (-3.0, 5.0)
MOST_REMOVED = 6.0  # times those who may be late, by the estimate of each block alone
STEPS, CLOSE = 7, 0.05  # of a search, and when it is near enough: 5 % below
STEEP, OFF_THE_ENDS, LEAST_EXCESS = 5.0, 0.1, 1e-3
SETTLING_S = 3600  # before figures count, schedules are as they will be
Counts = NDArray[np.int64]


class Found(NamedTuple):
    """A schedule of ready instances, and what comes of it."""

    ready: Counts
    outcome: Outcome

    def cost(self, share: float) -> tuple[float, int]:
        """Order those that hold a late share by what they cost, before those that do not."""
        return max(self.outcome.late_share, share), self.outcome.paid_s


def clairvoyant(new_service: Callable[[], Service]) -> Outcome:
    """Return what comes of the cheapest schedule found; every try uses a service up."""
    trace = _Trace(new_service)
    starts = [
        searched(partial(trace.with_room, width), *Z_BETWEEN, share=BEFORE_REMOVING)
        for width in WIDTHS_S
    ]
    starts.sort(key=_cost)
    ends = [trace.with_less(each) for each in starts[:WORTH_REMOVING]]
    return min(starts + ends, key=_cost).outcome


class _Trace:
    """What may be tried on a trace."""

    def __init__(self, new_service: Callable[[], Service]) -> None:
        some = new_service()
        self._new_service = new_service
        self._load, self._terms = some.load, some.terms
        self._used = some.load.used()
        self._boot_s = round(some.terms.boot_s)
        self._unseen = max(0, self._load.warmup_s - SETTLING_S)

    def with_room(self, width_s: int, z: float) -> Found:
        """Try what the smoothed demand requires, and room for its fluctuations."""
        mean = mean_around(self._used, width_s)
        counts = np.ceil((mean + z * np.sqrt(mean)) / self._terms.permits).astype(np.int64)
        bounded = np.clip(counts, self._terms.minimum, self._terms.maximum)
        return self._found(closed(bounded, self._boot_s))

    def with_less(self, start: Found) -> Found:
        """Search for how much may be removed."""
        blocks = blocks_of(self._load, start.ready, terms=self._terms, since=self._unseen)
        order = in_order(blocks)
        late = np.cumsum([each.late * (each.end - each.start + self._boot_s) for each in order])
        most = MOST_REMOVED * LATE_SHARE * start.outcome.requests

        def kept(share: float) -> Found:
            count = int(late.searchsorted((1 - share) * most))
            return self._found(without(start.ready, order[:count]))

        return searched(kept, 0.0, 1.0, share=LATE_SHARE)

    def _found(self, ready: Counts) -> Found:
        wanted = most_ahead(ready, self._boot_s + 1)
        wanted[: self._unseen] = self._terms.maximum  # nobody looks, and nobody waits
        return Found(ready, played(self._new_service(), wanted))


def searched(tried: Callable[[float], Found], low: float, high: float, *, share: float) -> Found:
    """Search between `low`, where more are late, and `high`; return the best that was tried.

    By false position on the logarithm of the late share, which falls about evenly.
    """
    above, below = STEEP, -STEEP
    found: list[Found] = []
    while len(found) < STEPS:
        part = min(max(above / (above - below), OFF_THE_ENDS), 1 - OFF_THE_ENDS)
        middle = low + part * (high - low)
        found.append(tried(middle))
        excess = math.log(max(found[-1].outcome.late_share / share, LEAST_EXCESS))
        if -CLOSE < excess <= 0:
            break
        if excess > 0:
            low, above = middle, excess
        else:
            high, below = middle, excess
    return min(found, key=lambda each: each.cost(share))


def _cost(found: Found) -> tuple[float, int]:
    return found.cost(LATE_SHARE)


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
