"""Sliding windows, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.simulate.windows import closed, least_behind, mean_around, most_ahead

series = st.lists(st.integers(0, 9), min_size=1, max_size=40).map(np.array)


@given(series, st.integers(1, 50))
def test_each_value_is_that_of_its_window(values: np.ndarray, width: int) -> None:
    for place in range(len(values)):
        around = values[max(0, place - (width - 1) // 2) : place + width // 2 + 1]
        assert mean_around(values, width)[place] == pytest.approx(around.mean())
        assert most_ahead(values, width)[place] == values[place : place + width].max()
        behind = values[max(0, place - width + 1) : place + 1]
        assert least_behind(values, width)[place] == behind.min()


@pytest.mark.parametrize(
    ("gap", "filled"),
    [
        (0, [3, 1, 3, 0, 2, 2, 1, 1, 5]),
        (1, [3, 3, 3, 2, 2, 2, 1, 1, 5]),
        (2, [3, 3, 3, 2, 2, 2, 2, 2, 5]),
        (9, [3, 3, 3, 3, 3, 3, 3, 3, 5]),
    ],
)
def test_dips_are_filled_up_to_a_length(gap: int, filled: list[int]) -> None:
    assert closed(np.array([3, 1, 3, 0, 2, 2, 1, 1, 5]), gap).tolist() == filled


@given(series, st.integers(0, 12))
def test_after_a_fall_nothing_rises_before_the_gap_is_over(values: np.ndarray, gap: int) -> None:
    filled = closed(values, gap)

    assert np.all(filled >= values)
    for fall in np.flatnonzero(np.diff(filled) < 0) + 1:
        assert np.all(np.diff(filled[fall : fall + gap]) <= 0)
