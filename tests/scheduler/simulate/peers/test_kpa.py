"""Knative's rule, worked out by hand; a target of 70 % of 10 permits is 7 requests."""

from __future__ import annotations

import pytest

from services.scheduler.simulate.peers.kpa import Kpa, clipped
from services.scheduler.simulate.policy import Terms
from tests.scheduler.simulate.peers.seen import asked


def kpa(down_delay_s: float = 0.0) -> Kpa:
    """Return one with what is published."""
    return Kpa(Terms(), utilization=0.7, down_delay_s=down_delay_s)


@pytest.mark.parametrize(
    ("wanted", "ready", "expected"), [(0, 5, 2), (1, 1, 1), (7, 5, 7), (5000, 2, 2000)]
)
def test_one_decision_halves_at_most(wanted: int, ready: int, expected: int) -> None:
    assert clipped(wanted, ready) == expected


def test_the_stable_mode_takes_the_mean_of_a_minute() -> None:
    # 30 ticks of 7 fill the minute; each of 12 displaces one: 7 + 5 k / 30 > 7 k' ...
    wanted = asked(kpa(), [7.0] * 30 + [12.0] * 5, ready=1)

    assert wanted[:30] == [1] * 30
    assert wanted[30:] == [2] * 5  # ceil((29 x 7 + 12) / 30 / 7) = 2


def test_a_burst_panics_by_the_mean_of_six_seconds() -> None:
    # three ticks of 2 s: after one of 70 the short mean is (7 + 7 + 70) / 3 = 28, 4 instances
    wanted = asked(kpa(), [7.0] * 30 + [70.0, 70.0, 70.0], ready=1)

    assert wanted[29:] == [1, 4, 7, 10]


def test_nothing_is_taken_away_in_panic() -> None:
    # the burst's last tick leaves the short window after two more, and panic ends 60 s later
    wanted = asked(kpa(), [7.0] * 30 + [70.0] + [0.0] * 40, ready=1)

    over_at = 30 + 2  # (70 + 0 + 0) / 3 / 7 = 3.3, so 4 >= 2 until then, counted from 0
    last_of_panic = over_at + 30
    assert wanted[30] == 4
    assert set(wanted[30 : last_of_panic + 1]) == {4}
    assert wanted[last_of_panic + 1] == 0


def test_below_twice_what_is_ready_there_is_no_panic() -> None:
    wanted = asked(kpa(), [28.0] * 30 + [49.0] * 3, ready=4)

    # 49 / 7 = 7 < 2 x 4: only the minute counts, (27 x 28 + 3 x 49) / 30 / 7 = 4.3
    assert wanted[-1] == 5


def test_it_begins_in_panic_where_there_is_more_than_one() -> None:
    wanted = asked(kpa(), [7.0] * 32, ready=4)

    assert wanted[:30] == [4] * 30
    assert wanted[30] == 2  # then at most halved


def test_a_delay_keeps_the_largest() -> None:
    wanted = asked(kpa(down_delay_s=10), [14.0] * 30 + [0.0] * 60, ready=1)

    plain = asked(kpa(), [14.0] * 30 + [0.0] * 60, ready=1)
    assert wanted == [max(plain[max(0, at - 4) : at + 1]) for at in range(90)]
