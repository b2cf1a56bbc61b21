"""The price of a late call: the lowest at which the last days would have kept the SLO.

Each minute is replayed for a ladder of prices p_k at once. With n_k(t) the requirement at p_k,

    w_k(t)     = max of n_k over the hold of damping          what there should be
    ready_k(t) = min of w_k over t - h .. t - 1     what serves: boots take time, stops do not
    late_k(t)  = arrivals * max(late(x, c ready_k), share of the minute that a backlog lasts)

and, with sums that halve every 5 days and a prior that counts as much as 6 hours,

    left   = 1 + known * (1 - seen / (aim * slo * sum arrivals)),  between 1/2 and 2
    over_k = truth * (sum late_k / sum arrivals) / (left * aim * slo)
    kept   = least p with over(p) <= 1                          log-linear between the rungs
    worth  = argmin_p  sum w_k / min_k sum w_k + KNEE * max(over_k - 1, 0)
    price  = min(kept, worth)

`left` makes a budget of the SLO: what was late lately, `seen`, is missing from what may be late
now, and what was not may be. `known` grows with the minutes n that were seen, n / (n + a day).
`worth` ends what `kept` would begin where calls are late at any price, as after a jump that
nothing foretold: one more fleet is paid for one SLO's worth of late calls, and no more.
It has no say while the prior counts for more than what was seen: the prior says little of late
calls at low prices, and nothing of what they cost.

`truth` = late calls that there were / those that the replay says for the prices that were taken,
between 1/4 and 4: it takes in what the replay does not know, as boots that fail, or the floor.
A dual ascent (Arrow, Hurwicz, Uzawa 1958) learns from one price at a time, and takes days.
Unit: instance-minutes for a late call.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.scheduler.deciding import sizing
from services.scheduler.deciding import surge as surge_rule
from services.scheduler.deciding.keeping import Arrays
from services.scheduler.deciding.minutes import DAY, Floats
from services.scheduler.deciding.signal import MINUTE_S, Minute

PRICES: Floats = np.geomspace(0.004, 524.0, 35)
HALF_LIFE = 5.0 * DAY
PRIOR_MINUTES = 360.0
START = 0.5  # instance-minutes that suit an SLO of 0.3 %, before anything is known
KNEE = 1.0  # fleets that one more of what the SLO allows is worth
_KEPT = 0.5 ** (1 / HALF_LIFE)
_MOST_TRUTH = 4.0
_MOST_LEFT = 2.0
_PRIOR: Floats = 0.003 * START / PRICES
_LOGS: Floats = np.log(PRICES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a replayed minute depends on beside the load."""

    permits: int
    service_s: float
    z: float  # peakedness
    horizon: int  # minutes: a decision answers for so many
    hold: int  # minutes of damping
    boot_minutes: float  # for which an instance of a surge is paid
    min: int
    max: int


class Price:
    """Replays each minute at all prices; remembers sums, backlogs and the last requirements."""

    def __init__(self) -> None:
        self.late: Floats = np.zeros(PRICES.size)
        self.cost: Floats = np.zeros(PRICES.size)  # instance-minutes
        self.arrivals = 0.0
        self.minutes = 0.0
        self.seen = 0.0  # late calls that there were
        self.replayed = 0.0  # those that the replay has at the prices taken
        self.taken = START
        self._backlog: Floats = np.zeros(PRICES.size)
        self._required: deque[NDArray[np.float64]] = deque(maxlen=64)

    def __repr__(self) -> str:
        return f"<Price {self.taken:.3g} truth={self.truth(0.003):.2f}>"

    def learn(self, minute: Minute, terms: Terms) -> None:
        """Replay a minute that is over."""
        is_known = len(self._required) > terms.hold + terms.horizon
        late = self._replay(minute, terms) if is_known else _PRIOR * minute.arrivals
        self.late = self.late * _KEPT + late
        if is_known:
            wanted = np.maximum.reduce(list(self._required)[-terms.hold - 1 :])
            self.cost = self.cost * _KEPT + np.clip(wanted, terms.min, terms.max)
        self.arrivals = self.arrivals * _KEPT + minute.arrivals
        self.minutes = self.minutes * _KEPT + 1
        if is_known:
            at_taken = float(np.interp(np.log(self.taken), _LOGS, late))
            self.seen = self.seen * _KEPT + minute.late
            self.replayed = self.replayed * _KEPT + at_taken
        if self._required:
            self._required.append(self._required[-1])  # until `record` says better

    def record(self, required: Floats, *, taken: float) -> None:
        """Take in the requirement at each price after the newest minute, and the price taken."""
        if self._required:
            self._required.pop()
        self._required.append(required)
        self.taken = taken

    def shares(self) -> Floats:
        """Return the share of late calls at each price, descending: (K,)."""
        total = self.minutes + PRIOR_MINUTES
        seen = self.late / self.arrivals if self.arrivals > 0 else _PRIOR
        return (seen * self.minutes + _PRIOR * PRIOR_MINUTES) / total

    def truth(self, slo: float) -> float:
        """Return how many calls are late for one that the replay has."""
        usual = 0.3 * slo * self.arrivals + 1.0
        found = (self.seen + usual) / (self.replayed + usual)
        return min(max(found, 1 / _MOST_TRUTH), _MOST_TRUTH)

    def left(self, allowed: float) -> float:
        """Return how many times the share `allowed` may be late now, for what was late lately."""
        known = self.minutes / (self.minutes + DAY)
        spent = self.seen / (allowed * self.arrivals + 1.0)
        return min(max(1 + known * (1 - spent), 1 / _MOST_LEFT), _MOST_LEFT)

    def now(self, slo: float, aim: float) -> float:
        """Return the price that keeps a share `aim` of the SLO."""
        allowed = aim * slo
        over = self.shares() * (self.truth(slo) / (self.left(allowed) * allowed))
        over = np.maximum(over, 1e-12)
        kept = float(np.exp(np.interp(0.0, -np.log(over), _LOGS)))
        if self.minutes < PRIOR_MINUTES or not self.cost[0] > 0:
            return kept
        costs = self.cost / self.cost.min() + KNEE * np.maximum(over - 1, 0)
        return min(kept, float(PRICES[costs.argmin()]))

    def kept(self) -> Arrays:
        """Return what is kept over a restart."""
        sums = [self.arrivals, self.minutes, self.seen, self.replayed, self.taken]
        return {
            "price_late": self.late,
            "price_cost": self.cost,
            "price_backlog": self._backlog,
            "price_sums": np.array(sums),
            "price_required": np.array(self._required).reshape(-1, PRICES.size),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take in what `kept` returned; of another ladder of prices, nothing."""
        if arrays["price_late"].shape != PRICES.shape:
            return
        self.late, self.cost = arrays["price_late"], arrays["price_cost"]
        self._backlog = arrays["price_backlog"]
        sums = arrays["price_sums"].tolist()
        self.arrivals, self.minutes, self.seen, self.replayed, self.taken = sums
        self._required.extend(arrays["price_required"])

    def _replay(self, minute: Minute, terms: Terms) -> Floats:
        """Return the late calls of a minute at each price, and carry its backlogs on."""
        ready = np.clip(_ready(self._required, terms), terms.min, terms.max) * terms.permits
        late = sizing.late(np.array(minute.load), ready, terms.service_s, terms.z)
        surge = np.sqrt(PRICES * self._backlog * (minute.load * terms.permits / terms.boot_minutes))
        free = ready - minute.load
        spare = np.where(free > 0, np.maximum(free, surge), free) * (MINUTE_S / terms.service_s)
        lasting = np.where(spare > 0, self._backlog / np.maximum(spare, 1e-9), 1.0)
        late = np.where(self._backlog > 0, np.maximum(late, np.minimum(lasting, 1.0)), late)
        longest = ready * (surge_rule.LONGEST_WAIT_S / terms.service_s)
        self._backlog = np.clip(self._backlog - spare, 0.0, longest)
        return late * minute.arrivals


def _ready(required: deque[NDArray[np.float64]], terms: Terms) -> Floats:
    """Return what serves at each price, of the requirements of the last minutes."""
    rows = list(required)
    wanted = [
        np.maximum.reduce(rows[max(end - terms.hold, 0) : end + 1])
        for end in range(len(rows) - terms.horizon, len(rows))
    ]
    return np.asarray(np.minimum.reduce(wanted))
