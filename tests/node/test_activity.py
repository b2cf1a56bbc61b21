"""What an instance's time was spent on, by what was seen of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.world_map import InstanceState
from services.node.activity import Activity, Interval


def test_an_interval_tells_seconds_in_each_state_and_the_mean_concurrency() -> None:
    activity = Activity(0.0)
    seen: list[tuple[float, InstanceState, int]] = [
        (1.0, "booting", 0),
        (4.0, "ready", 0),
        (5.0, "ready", 2),
        (9.0, "draining", 1),
        (11.0, "draining", 0),
    ]
    for at, state, level in seen:
        activity.saw(state, level, at=at)

    told = activity.take(15.0)

    assert told == Interval(
        seconds=15.0, boot_s=3.0, idle_s=5.0, active_s=6.0, mean_concurrency=10 / 15
    )
    assert told.utilization == 6 / 15


def test_the_next_interval_begins_where_the_last_one_ended() -> None:
    activity = Activity(0.0).saw("ready", 3, at=0.0)
    activity.take(15.0)

    told = activity.take(20.0)

    assert (told.seconds, told.active_s, told.mean_concurrency) == (5.0, 5.0, 3.0)


def test_one_that_has_failed_is_not_there() -> None:
    activity = Activity(0.0).saw("failed", 4, at=0.0)

    told = activity.take(15.0)

    assert not told.was_there
    assert (told.utilization, told.mean_concurrency) == (0.0, 0.0)


states = st.sampled_from(["booting", "ready", "draining", "failed"])


@given(st.lists(st.tuples(st.floats(0, 9), states, st.integers(0, 5)), max_size=9))
def test_the_states_take_no_more_than_the_interval(
    seen: list[tuple[float, InstanceState, int]],
) -> None:
    activity, at = Activity(0.0), 0.0
    for passed, state, level in seen:
        at += passed
        activity.saw(state, level, at=at)

    told = activity.take(at + 1)

    assert told.boot_s + told.idle_s + told.active_s <= told.seconds + 1e-6
    assert told.seconds == pytest.approx(at + 1)
    assert told.utilization <= 1 + 1e-9
    assert told.mean_concurrency >= told.utilization - 1e-9
