"""An entry's part of a limit: what comes back, what is lost with a smaller share, and debt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.entry.buckets import Allowance, Bucket


def bucket(per_minute: float = 60.0, share: float = 1.0) -> Bucket:
    return Bucket("a/t", per_minute, share, 0.0)


def taken(limit: Bucket, now: float, most: int = 1000) -> int:
    count = 0
    while count < most and limit.take(1.0, now):
        count += 1
    return count


def test_a_minute_of_it_is_there_at_once_and_then_it_comes_back_evenly() -> None:
    limit = bucket(60.0)

    assert [taken(limit, now) for now in (0.0, 0.5, 1.0, 11.0, 200.0)] == [60, 0, 1, 10, 60]


def test_the_wait_is_what_is_missing_at_its_rate() -> None:
    limit = bucket(30.0)
    taken(limit, 0.0)

    assert limit.wait_s(1.0) == pytest.approx(2.0)
    assert limit.take(1.0, 1.9) is False
    assert limit.take(1.0, 2.0) is True


def test_a_smaller_share_loses_what_is_above_it_and_a_larger_one_fills_up() -> None:
    limit = bucket(60.0)

    limit.divide(60.0, 0.5, 0.0)
    at_half = taken(limit, 0.0)
    limit.divide(60.0, 1.0, 0.0)

    assert at_half == 30
    assert taken(limit, 0.0) == 0
    assert taken(limit, 10.0) == 10


def test_a_call_larger_than_all_goes_when_the_bucket_is_full_and_leaves_debt() -> None:
    limit = bucket(60.0)

    assert limit.take(90.0, 0.0)
    assert not limit.take(1.0, 30.0)
    assert limit.take(1.0, 31.0)


def test_without_a_share_nothing_goes() -> None:
    limit = bucket(60.0, share=0.0)

    assert not limit.take(1.0, 0.0)
    assert limit.wait_s(1.0) > 0


def test_what_was_not_used_comes_back_and_no_more_than_fits() -> None:
    limit = bucket(60.0)
    limit.take(50.0, 0.0)

    limit.give_back(40.0)
    assert limit.level == 50.0
    limit.give_back(100.0)
    assert limit.level == 60.0


@given(
    st.floats(1.0, 600.0),
    st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.01, 1.0), st.integers(0, 50)), max_size=50),
)
def test_in_no_schedule_of_shares_it_lets_more_through_than_rate_times_time_and_burst(
    per_minute: float, schedule: list[tuple[float, float, int]]
) -> None:
    """For one entry; that all shares together are never more than 1 is control's to see to."""
    limit, now, allowed, passed = bucket(per_minute, 1.0), 0.0, per_minute, 0
    share = 1.0
    for elapsed, following, calls in schedule:
        now += elapsed
        allowed += elapsed * per_minute * share / 60.0
        passed += taken(limit, now, calls)
        share = following
        limit.divide(per_minute, share, now)
        assert passed <= allowed + 1.0 + 1e-6  # one call may leave a debt


def test_a_budget_is_used_once_a_day() -> None:
    budget = Allowance("a/neurons", 100.0, 0.5, 7)

    assert [budget.take(30.0, 7) for _ in range(3)] == [True, True, False]
    budget.give_back(25.0, 7)
    assert budget.take(1.0, 7)
    assert budget.take(1.0, 8)
    budget.give_back(60.0, 7)  # of yesterday
    assert budget.used == 1.0
