"""Kubernetes' rule, worked out by hand; a target of 70 % of 10 permits is 7 requests."""

from __future__ import annotations

import pytest

from services.scheduler.simulate.peers.hpa import Hpa, reachable, recommended
from services.scheduler.simulate.policy import Terms
from tests.scheduler.simulate.peers.seen import NOTHING, asked, followed

CASES = {
    "70 / 40 = 1.75 of the target: ceil(70 / 10)": (70.0, 4, 0, 7),
    "exactly on target": (40.0, 4, 0, 4),
    "10 % above is within the tolerance": (44.0, 4, 0, 4),
    "a little more is not": (44.4, 4, 0, 5),
    "10 % below is within the tolerance": (36.0, 4, 0, 4),
    "below: ceil(21 / 10)": (21.0, 4, 0, 3),
    "nothing to do": (0.0, 4, 0, 0),
    "booting ones are idle: 70 / 80 is below, so what there is": (70.0, 4, 4, 8),
    "booting ones are idle: 85 / 80 is within the tolerance": (85.0, 4, 4, 8),
    "booting ones are idle: 130 / 80 asks for more": (130.0, 4, 4, 13),
    "on the way down booting ones do not count: 20 / 40": (20.0, 4, 4, 2),
    "from nothing": (15.0, 0, 0, 2),
}


@pytest.mark.parametrize(("load", "ready", "booting", "expected"), CASES.values(), ids=CASES)
def test_the_metric_asks_for(load: float, ready: int, booting: int, expected: int) -> None:
    wanted = recommended(load, 10.0, current=ready + booting, ready=ready, booting=booting)

    assert wanted == expected


@pytest.mark.parametrize(("current", "most"), [(0, 4), (1, 5), (3, 7), (4, 8), (10, 20)])
def test_one_period_doubles_or_adds_four(current: int, most: int) -> None:
    assert reachable(current) == most


def test_a_large_rise_takes_several_periods() -> None:
    hpa = Hpa(Terms(), utilization=0.7, down_window_s=300)

    assert followed(hpa, [720.0] * 6, ready=2) == [6, 12, 24, 48, 96, 96]  # 103 is not 10 % more


def test_it_goes_down_to_the_largest_recommendation_of_five_minutes() -> None:
    hpa = Hpa(Terms(), utilization=0.7, down_window_s=300)

    # what was recommended at the start (10) and at 15 s (6) counts until it is 300 s old
    wanted = followed(hpa, [42.0] + [14.0] * 21, ready=10)

    assert wanted[:19] == [10] * 19  # until 285 s
    assert wanted[19] == 6  # 300 s: the 10 of the start is 300 s old
    assert wanted[20] == 2  # 315 s
    assert wanted[21] == 2


def test_the_bounds_are_where_it_goes_on_from() -> None:
    hpa = Hpa(Terms(minimum=2, maximum=5), utilization=0.7, down_window_s=15)

    assert followed(hpa, [70.0, 70.0, 0.0, 0.0], ready=3) == [5, 5, 2, 2]


def test_it_keeps_what_it_wants_while_boots_fail() -> None:
    hpa = Hpa(Terms(), utilization=0.7, down_window_s=300)

    assert asked(hpa, [70.0, 70.0, 70.0], ready=4) == [8, 10, 10]


def test_without_a_metric_it_does_nothing() -> None:
    hpa = Hpa(Terms(), utilization=0.7, down_window_s=300)

    assert hpa.wanted(NOTHING._replace(ready=3, booting=2)) == 5
