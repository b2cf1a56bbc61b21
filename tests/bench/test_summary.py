"""Statistics of small samples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.summary import difference, percentile, ratios, spread


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([7], 0.99, 7),
        ([3, 1, 2], 0.5, 2),
        (range(1, 101), 0.99, 99),
        (range(1, 101), 1.0, 100),
    ],
    ids=["of nothing", "of one", "the middle", "the 99th", "the last"],
)
def test_a_percentile_is_a_value_that_was_seen(
    values: list[float], share: float, expected: float | None
) -> None:
    assert percentile(list(values), share) == expected


@given(st.lists(st.floats(-1e9, 1e9), min_size=1), st.floats(0.01, 1))
def test_a_percentile_lies_among_the_values(values: list[float], share: float) -> None:
    assert percentile(values, share) in values


def test_a_spread_leaves_out_the_rounds_that_failed() -> None:
    found = spread([3.0, None, 1.0, 2.0])

    assert found is not None
    assert (found.median, found.lowest, found.highest) == (2.0, 1.0, 3.0)


def test_there_is_no_spread_of_nothing() -> None:
    assert spread([None]) is None


def test_ratios_are_those_of_the_same_round() -> None:
    assert ratios([2.0, None, 9.0], [1.0, 5.0, 3.0]) == [2.0, 3.0]


def test_a_ratio_of_nothing_or_less_is_none() -> None:
    assert ratios([-1.0, 1.0], [1.0, 0.0]) == []


def test_what_a_hop_adds_is_unknown_where_either_is() -> None:
    assert difference(5.0, 3.0) == 2.0
    assert difference(None, 3.0) is None
