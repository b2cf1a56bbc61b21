"""What accounts get that ask two entries for twice what they may, in simulated time."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest

from libs.common.limit_shares import LimitUse, Shares, Use
from services.control.sharing import Sharing
from services.entry.buckets import Bucket

RATE = 120.0  # a minute
USED_UP_S, SETTLED_S, END_S = 30.0, 60.0, 120.0  # at first all ask both alike, and for much more
ANSWER_S = 0.02
ENTRIES = ("a", "b")


@dataclass
class Entry:
    """Keeps the bucket of an account as an entry does, and reports every second or so."""

    even: float = 0.0
    applied: int = 0
    named: dict[str, float] = field(default_factory=dict)
    buckets: dict[str, Bucket] = field(default_factory=dict)

    def bucket(self, name: str, now: float) -> Bucket:
        if name not in self.buckets:
            self.buckets[name] = Bucket(name, RATE, self.named.get(name, self.even), now)
        return self.buckets[name]

    def use(self) -> Use:
        told = []
        for bucket in self.buckets.values():
            told.append(LimitUse(name=bucket.name, share=bucket.share, asked=bucket.asked))
            bucket.asked = 0.0
        return Use(applied=self.applied, even=self.even, limits=tuple(told))

    def granted(self, shares: Shares, now: float) -> None:
        self.applied, self.even = shares.number, shares.even
        for name, share in shares.shares.items():
            self.named[name] = share
        for name, bucket in self.buckets.items():
            if bucket.share != self.named.get(name, self.even):
                bucket.divide(RATE, self.named.get(name, self.even), now)


def served(at_a: float, seed: int) -> int:
    """Return how many calls of one account are let through once all has settled."""
    rng = random.Random(seed)
    sharing = Sharing(keep_s=30, limit=lambda _: RATE)
    entries = {name: Entry() for name in ENTRIES}
    due: list[tuple[float, str]] = [(rng.random(), name) for name in ENTRIES] + [(3.0, "call")]
    grants: list[tuple[float, str, Shares]] = []
    count = 0
    while (event := heapq.heappop(due))[0] < END_S:
        now, what = event
        while grants and grants[0][0] <= now:
            _, name, shares = grants.pop(0)
            entries[name].granted(shares, now)
        if what != "call":
            shares = sharing.heard(what, entries[what].use(), now=now, day=0)
            grants.append((now + ANSWER_S, what, shares))
            heapq.heappush(due, (now + rng.uniform(0.8, 1.0), what))
            continue
        is_settling = now > USED_UP_S
        where = "b" if rng.random() >= (at_a if is_settling else 0.5) else "a"
        is_let_through = entries[where].bucket("x/task", now).take(1.0, now)
        count += is_let_through and now > SETTLED_S
        heapq.heappush(due, (now + rng.expovariate(4.0 if is_settling else 7.2), "call"))
    return count


@pytest.mark.parametrize("at_a", [0.5, 0.9, 1.0])
def test_who_asks_for_twice_its_rate_gets_its_rate(at_a: float) -> None:
    may = RATE * (END_S - SETTLED_S) / 60

    off = sorted(abs(served(at_a, seed) / may - 1) for seed in range(40))

    # Calls come by chance, so that now and then one entry is not asked for seconds.
    assert off[-2] <= 0.05, off[-5:]
    assert off[-1] <= 0.1
