"""Ray Serve's rule, worked out by hand; a target of 40 % of 10 permits is 4 requests."""

from __future__ import annotations

import pytest

from services.scheduler.simulate.peers.ray import Ray, desired
from services.scheduler.simulate.policy import Terms
from tests.scheduler.simulate.peers.seen import NOTHING, asked, followed

CASES = {
    "twice the target: 3 x 2": (24.0, 3, 1.0, 6),
    "rounded up": (25.0, 3, 1.0, 7),
    "half of the way": (24.0, 3, 0.5, 5),  # ceil(3 + 0.5 x 3)
    "half of the target": (8.0, 4, 1.0, 2),
    "a factor would keep it: one less": (12.0, 4, 0.2, 3),  # ceil(4 - 0.2) = 4
    "not below what is needed": (15.0, 4, 0.2, 4),  # ceil(3.75) is 4, too
    "from nothing, for any request": (1.0, 0, 1.0, 1),
    "nothing for nothing": (0.0, 0, 1.0, 0),
}


def ray() -> Ray:
    """Return one with what is published."""
    return Ray(Terms(), utilization=0.4, up_delay_s=30, down_delay_s=600)


@pytest.mark.parametrize(("load", "running", "factor", "expected"), CASES.values(), ids=CASES)
def test_the_ongoing_requests_ask_for(
    load: float, running: int, factor: float, expected: int
) -> None:
    assert desired(load, 4.0, running=running, factor=factor) == expected


def test_more_counts_after_thirty_seconds() -> None:
    assert followed(ray(), [8.0] * 5, ready=1) == [1, 1, 1, 2, 2]


def test_less_counts_after_ten_minutes() -> None:
    wanted = followed(ray(), [8.0] * 62, ready=5)

    assert wanted[59:] == [5, 2, 2]  # the 61st look


def test_one_look_to_the_other_side_begins_anew() -> None:
    # the mean of three looks is 8, then (8 + 8 + 0) / 3: above 4 all the time
    assert followed(ray(), [8.0, 8.0, 0.0, 0.0, 0.0, 8.0], ready=1)[:4] == [1, 1, 1, 1]


def test_the_load_is_the_mean_of_thirty_seconds() -> None:
    # means 4, 4, 4, 8, 12, 16, 16: above from the fourth, so wanted at the seventh
    assert followed(ray(), [4.0] * 3 + [16.0] * 4, ready=1) == [1, 1, 1, 1, 1, 1, 4]


def test_from_nothing_there_is_no_delay() -> None:
    policy = Ray(Terms(minimum=0), utilization=0.4, up_delay_s=30, down_delay_s=600)
    policy.wanted(NOTHING._replace(ready=0))

    assert policy.wanted(NOTHING._replace(t=10, seconds=10, ready=0, mean_demand=0.5)) == 1


def test_it_goes_on_from_what_it_wanted_while_boots_fail() -> None:
    assert asked(ray(), [16.0] * 6, ready=1) == [1, 1, 1, 4, 4, 4]
