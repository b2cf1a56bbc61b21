"""A policy replayed: what it is told, what follows from it, what is counted and paid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.simulate.load import Load
from services.scheduler.simulate.policy import Observation, Terms
from services.scheduler.simulate.replay import replay
from services.scheduler.simulate.service import Outcome
from tests.scheduler.simulate.loads import Request, load, service

TERMS = Terms(permits=2, boot_s=10, minimum=1, maximum=5)


@dataclass
class Told:
    """Wants what it is told by time, and remembers what it saw."""

    wants: Callable[[float], int]
    every_s: float = 1
    seen: list[Observation] = field(default_factory=list)

    def wanted(self, seen: Observation) -> int:
        self.seen.append(seen)
        return self.wants(seen.t)


def run(load: Load, policy: Told, terms: Terms = TERMS, *, max_wait_s: int = 60) -> Outcome:
    return replay(service(load, terms, max_wait_s=max_wait_s), policy).outcome


def steps(*points: tuple[float, int]) -> Callable[[float], int]:
    """The last number whose time has come."""
    return lambda t: [number for at, number in points if at <= t][-1]


def test_an_instance_takes_requests_when_it_has_booted_and_is_paid_from_its_start() -> None:
    three_at_once = load([(5, 20)] * 3, seconds=40)

    done = run(three_at_once, Told(steps((0, 1), (3, 2))))

    assert done.late_by.tolist() == [0] * 5 + [1] + [0] * 34
    assert done.longest_wait_s == 13 - 5
    assert done.serving.tolist() == [1] * 13 + [2] * 27
    assert done.paid.tolist() == [1] * 3 + [2] * 37
    assert done.instance_hours == (3 + 2 * 37) / 3600
    assert (done.scale_actions, done.instances_started) == (1, 1)


def test_an_instance_that_drains_is_paid_until_it_is_empty() -> None:
    two_long_ones = load([(0, 20), (0, 20)], seconds=40)
    terms = Terms(permits=1, boot_s=0, minimum=1, maximum=5)

    done = run(two_long_ones, Told(steps((0, 2), (5, 1))), terms)

    assert done.late == 0
    assert done.serving.tolist() == [2] * 5 + [1] * 35
    assert done.paid.tolist() == [2] * 20 + [1] * 20


def test_the_newest_boots_are_cancelled_first() -> None:
    policy = Told(steps((0, 1), (1, 2), (4, 3), (6, 2)))

    done = run(load([(0, 1)], seconds=30), policy)

    assert done.serving.tolist() == [1] * 11 + [2] * 19
    assert done.paid.tolist() == [1] + [2] * 3 + [3] * 2 + [2] * 24
    assert done.instances_started == 2


@pytest.mark.parametrize(("wants", "have"), [(0, 1), (-3, 1), (99, 5)])
def test_the_bounds_hold_whatever_is_wanted(wants: int, have: int) -> None:
    done = run(load([(0, 1)], seconds=9), Told(lambda t: wants))

    assert done.paid.tolist() == [have] * 9


def test_a_policy_sees_what_was_since_it_was_asked_last() -> None:
    # permits for two: at 5 three come, and the third waits until 8
    some = load([(1, 4), (5, 3), (5, 4), (5, 2)], seconds=24)
    policy = Told(lambda t: 1, every_s=6)

    run(some, policy)

    first, second, third, last = policy.seen
    assert first == (0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0.0, 0, 0.0)
    assert second._asdict() == {
        "t": 6,
        "ready": 1,
        "booting": 0,
        "permits": 2,
        "in_flight": 2,
        "queued": 1,
        "seconds": 6,
        "arrivals": 4,
        "served": 1,
        "late": 1,
        "dropped": 0,
        "mean_demand": (4 + 3) / 6,
        "max_demand": 3,
        "mean_service_s": 4.0,
    }
    # demand at the ends of the steps 6 to 11: 3, 3, 2, 1, 0, 0
    assert (third.served, third.mean_demand, third.max_demand) == (3, 9 / 6, 3)
    assert third.demand == third.late == third.arrivals == 0
    assert last.served == 0


def test_it_is_asked_as_often_as_it_says_whatever_happens_between() -> None:
    policy = Told(steps((0, 1), (7, 3), (21, 1)), every_s=7)

    run(load([(0, 1)], seconds=50), policy)

    assert [seen.t for seen in policy.seen] == [0, 7, 14, 21, 28, 35, 42, 49]
    assert [seen.booting for seen in policy.seen] == [0, 0, 2, 0, 0, 0, 0, 0]


def test_the_warm_up_is_not_counted() -> None:
    requests = [(2, 9)] * 4 + [(30, 9)] * 3
    done = run(load(requests, seconds=60, warmup_s=25), Told(steps((0, 1), (3, 2))))

    assert (done.requests, done.late) == (3, 0)
    assert done.paid_s == 2 * 35
    assert (done.scale_actions, done.longest_wait_s) == (0, 0)


def test_who_has_waited_the_longest_time_is_dropped_and_was_late() -> None:
    done = run(load([(0, 50)] * 3, seconds=40), Told(lambda t: 1), max_wait_s=12)

    assert (done.late, done.very_late, done.dropped) == (1, 1, 1)
    assert done.longest_wait_s == 12


def test_who_still_waits_at_the_end_is_counted() -> None:
    done = run(load([(0, 50)] * 3, seconds=40), Told(lambda t: 1), max_wait_s=60)

    assert (done.late, done.very_late, done.dropped, done.longest_wait_s) == (1, 1, 0, 40)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 199), st.integers(0, 30)), min_size=1, max_size=300),
    st.lists(st.integers(-1, 7), min_size=200, max_size=200),
    st.sampled_from([1, 3, 50]),
)
def test_all_requests_are_served_or_dropped_or_still_there(
    requests: Sequence[Request], wants: Sequence[int], every_s: float
) -> None:
    policy = Told(lambda t: wants[int(t)], every_s=every_s)

    done = run(load(requests, seconds=200), policy, max_wait_s=15)

    last = policy.seen[-1]
    served = sum(seen.served for seen in policy.seen)
    arrived = sum(seen.arrivals for seen in policy.seen)
    dropped = sum(seen.dropped for seen in policy.seen)
    assert arrived == served + dropped + last.demand
    assert done.requests == len(requests)
    assert done.dropped <= done.late <= done.requests
    assert np.all(done.paid >= done.serving)
    assert np.all((done.serving >= 1) & (done.serving <= 5))
