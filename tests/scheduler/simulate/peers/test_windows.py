"""Means, maxima and rows of looks, against what they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.simulate.peers.persistence import Persistence
from services.scheduler.simulate.peers.windows import SlidingMax, SlidingMean

VALUES = st.lists(st.integers(0, 20), min_size=1, max_size=60)


@given(values=VALUES, span=st.integers(1, 10))
def test_a_mean_is_that_of_the_last_seconds(values: list[int], span: int) -> None:
    mean = SlidingMean(span)

    for at, value in enumerate(values, start=1):
        last = values[max(0, at - span) : at]
        assert mean.add(value, 1.0, at) == pytest.approx(sum(last) / len(last))


def test_a_mean_of_nothing_is_nothing_whatever_there_was() -> None:
    mean = SlidingMean(3)

    for at, value in enumerate([0.1, 0.2, 0.3, 1e5 / 3, 0.0, 0.0, 0.0], start=1):
        mean.add(value, 1.0, at)

    assert mean.value == 0.0


@given(values=VALUES, span=st.integers(1, 10))
def test_a_maximum_is_that_of_the_last_seconds(values: list[int], span: int) -> None:
    largest = SlidingMax(span)

    for at, value in enumerate(values, start=1):
        assert largest.add(value, at) == max(values[max(0, at - span) : at])


def test_a_window_of_nothing_has_what_is_added() -> None:
    largest = SlidingMax(0)

    assert [largest.add(value, at) for at, value in enumerate([3, 1, 2])] == [3, 1, 2]


ROWS = {
    "up at the second look": ([5, 5, 5], [3, 5, 5]),
    "down at the third": ([1, 1, 1, 1], [3, 3, 1, 1]),
    "what it is at the last look": ([1, 1, 2], [3, 3, 2]),
    "a look that is content begins anew": ([5, 3, 5, 5], [3, 3, 3, 5]),
    "a look to the other side begins anew": ([1, 1, 5, 1, 1, 1], [3, 3, 3, 3, 3, 1]),
}


@pytest.mark.parametrize(("desired", "expected"), ROWS.values(), ids=ROWS)
def test_a_row_of_looks_changes_it(desired: list[int], expected: list[int]) -> None:
    persistence, current, got = Persistence(up_looks=2, down_looks=3), 3, []

    for each in desired:
        current = persistence.take(each, current)
        got.append(current)

    assert got == expected
