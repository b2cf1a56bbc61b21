"""The clairvoyant: what it boots, fills and removes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.scheduler.simulate.clairvoyant import LATE_SHARE, clairvoyant, played
from services.scheduler.simulate.load import Load, ServiceLaw, load_of
from services.scheduler.simulate.policy import Terms
from services.scheduler.simulate.removals import blocks_of, in_order, without
from services.scheduler.simulate.service import Service
from services.scheduler.simulate.windows import most_ahead
from tests.scheduler.simulate.loads import load
from tests.scheduler.simulate.loads import service as service_of
from tests.scheduler.simulate.test_load import trace

TERMS = Terms(permits=1, boot_s=5, minimum=1, maximum=9)


def service(of: Load, terms: Terms = TERMS) -> Service:
    return service_of(of, terms)


def swinging(minutes: int) -> Load:
    requests = [round(150 * (1.2 + math.sin(minute / 9))) for minute in range(minutes)]
    return load_of(trace(requests), ServiceLaw(), warmup_s=0, seed=1)


def test_a_schedule_is_booted_just_early_enough_and_boots_are_paid() -> None:
    one, two = [1] * 10, [2] * 10
    ready = np.array([*one, *two, *one])

    done = played(service(load([(0, 1)], seconds=30)), most_ahead(ready, TERMS.boot_s + 1))

    assert done.serving.tolist() == ready.tolist()
    assert done.paid_s == 30 + 5 + 10
    assert (done.instances_started, done.scale_actions) == (1, 2)


def test_it_keeps_the_share_and_is_cheaper_than_never_being_late() -> None:
    terms = Terms(permits=4, boot_s=60, minimum=1, maximum=50)
    of = swinging(60)
    never_late = -(-of.demand.astype(np.int64) // 4)

    found = clairvoyant(lambda: service(of, terms))

    assert 0 < found.late_share <= LATE_SHARE
    assert found.paid_s < played(service(of, terms), most_ahead(never_late, 61)).paid_s
    # and not below what the work itself needs
    assert found.paid_s > of.demand.sum() / 4


def test_where_the_maximum_is_too_low_it_does_what_it_can() -> None:
    terms = Terms(permits=4, boot_s=60, minimum=1, maximum=4)

    found = clairvoyant(lambda: service(swinging(20), terms))

    assert found.late_share > LATE_SHARE
    assert found.paid.max() <= 5  # with one that drains


def test_it_has_an_instance_for_those_who_stay_for_less_than_a_step() -> None:
    terms = Terms(permits=4, boot_s=0, minimum=0, maximum=4)
    of = load_of(trace([5] * 20), ServiceLaw(mean_s=0.01, cv=0), warmup_s=0, seed=1)

    found = clairvoyant(lambda: service(of, terms))

    assert found.late == 0
    assert 0 < found.paid_s < of.seconds


def blocks_of_steps() -> tuple[Load, np.ndarray]:
    """Three instances are needed for a second at 10, two at 30 for ten."""
    of = load([(5, 50), (6, 50), (10, 1), (30, 10)] + [(31, 1)] * 3, seconds=60)
    ready = np.array([2] * 8 + [3] * 7 + [2] * 15 + [4] * 12 + [2] * 18)
    return of, ready


def test_blocks_are_instances_with_what_they_save_and_whom_they_make_late() -> None:
    of, ready = blocks_of_steps()

    blocks = sorted(blocks_of(of, ready, terms=TERMS, since=0), key=lambda each: each[1:])

    assert [each[1:] for each in blocks] == [(2, 0, 60), (3, 8, 15), (3, 30, 42), (4, 30, 42)]
    assert [each.late for each in blocks] == [
        # those who come while there are two, three, four and more in flight
        pytest.approx((1 + 1 + 1 + 3) / 65),
        pytest.approx(1 / 12),
        pytest.approx((1 + 3) / 17),
        pytest.approx(3 / 17),
    ]


def test_blocks_that_end_before_anyone_looks_are_left() -> None:
    of, ready = blocks_of_steps()

    assert {each[1:3] for each in blocks_of(of, ready, terms=TERMS, since=20)} == {
        (2, 0),
        (3, 30),
        (4, 30),
    }


def test_the_cheapest_go_first_and_never_before_what_stands_on_them() -> None:
    of, ready = blocks_of_steps()

    order = in_order(blocks_of(of, ready, terms=TERMS, since=0))

    assert [each[1:3] for each in order] == [(3, 8), (4, 30), (3, 30), (2, 0)]
    left = [without(ready, order[:count]) for count in range(5)]
    assert np.array_equal(left[0], ready)
    assert left[1].tolist() == [2] * 30 + [4] * 12 + [2] * 18
    assert left[3].tolist() == [2] * 60
    assert left[4].tolist() == [1] * 60
