"""What one more or one fewer instance is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.deciding.residuals import SHARES
from services.scheduler.deciding.worth import spared, worths


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ([0, 3, 5, 6], [3, 2, 1]),
        ([0, 0, 0, 9], [3, 3, 3]),
        ([0, 4, 4, 5, 6], [4, 2 / 3] + [2 / 3] * 2),
    ],
    ids=["concave already", "all by the last", "a bump"],
)
def test_steps_of_the_hull(values: list[float], steps: list[float]) -> None:
    assert worths(np.array(values, dtype=float)) == pytest.approx(steps)


@given(st.lists(st.floats(0, 1e4), min_size=2, max_size=50))
def test_worths_never_rise_and_add_up(values: list[float]) -> None:
    steps = worths(np.array([0.0, *values]))

    assert np.all(np.diff(steps) <= 1e-6)
    assert steps.sum() == pytest.approx(values[-1], abs=1e-6)


def test_whom_a_load_needs_is_worth_more_than_who_is_spare() -> None:
    found = worths(spared(np.full(SHARES.size, 60.0), SHARES, 8, 4.0, 14))

    assert found[0] == pytest.approx(found[6])
    assert found[0] > 50
    assert found[13] < 0.1
