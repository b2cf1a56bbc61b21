"""The gradient limit: down where answers take longer with more in flight, up where they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.server.gradient import WINDOW_ANSWERS, WINDOW_S, GradientLimit


def take_s(in_flight: int, *, bears: int, usual_s: float = 0.1) -> float:
    """Return what an answer takes of an endpoint that works on `bears` at once."""
    return usual_s * max(1.0, in_flight / bears)


def saturated(limit: GradientLimit, windows: int, *, bears: int, usual_s: float = 0.1) -> None:
    for _ in range(windows):
        in_flight = limit.permits
        limit.update(take_s(in_flight, bears=bears, usual_s=usual_s), in_flight)


def warmed_up(most: int, *, bears: int) -> GradientLimit:
    """Return one that has seen an hour of little load."""
    limit = GradientLimit(most)
    for _ in range(3600):
        limit.update(take_s(1, bears=bears), 1)
    return limit


@given(
    most=st.integers(1, 64),
    windows=st.lists(st.tuples(st.floats(0.0, 1e3), st.integers(0, 64)), max_size=200),
)
def test_it_stays_between_one_and_its_bound(most: int, windows: list[tuple[float, int]]) -> None:
    limit = GradientLimit(most)

    for short_s, busiest in windows:
        limit.update(short_s, busiest)
        assert 1 <= limit.permits <= most


@pytest.mark.parametrize("bears", [1, 2, 4, 8])
def test_an_overcommitted_endpoint_gets_little_more_than_it_bears(bears: int) -> None:
    limit = warmed_up(32, bears=bears)

    saturated(limit, 120, bears=bears)

    assert bears <= limit.permits <= 1.5 * bears + 4


def test_an_hour_of_overload_does_not_become_the_usual() -> None:
    limit = warmed_up(32, bears=4)

    saturated(limit, 3600, bears=4)

    assert limit.permits <= 14


def test_an_endpoint_that_bears_all_keeps_all() -> None:
    limit = warmed_up(16, bears=16)

    saturated(limit, 600, bears=16)

    assert limit.permits == 16


def test_it_comes_back_when_the_endpoint_is_well_again() -> None:
    limit = warmed_up(16, bears=16)
    saturated(limit, 60, bears=2)
    assert limit.permits <= 6

    saturated(limit, 120, bears=16)

    assert limit.permits == 16


def test_a_model_that_has_become_slower_by_itself_is_found_out_at_one_permit() -> None:
    limit = warmed_up(8, bears=8)

    saturated(limit, 30, bears=8, usual_s=0.5)
    lowest = limit.permits
    saturated(limit, 120, bears=8, usual_s=0.5)

    assert lowest <= 2
    assert limit.permits == 8


def test_little_load_changes_nothing() -> None:
    limit = warmed_up(16, bears=2)
    saturated(limit, 60, bears=2)
    before = limit.permits

    for _ in range(60):
        limit.update(0.1, 1)

    assert limit.permits == before


def test_a_window_has_time_and_answers_enough() -> None:
    limit = GradientLimit(4)
    ends = [limit.answered(0.01, 4, now=at * 0.02) for at in range(1, 200)]
    few = [GradientLimit(4).answered(5.0, 4, now=5.0 * at) for at in range(1, WINDOW_ANSWERS)]

    assert not any(few)
    assert sum(ends) == int(200 * 0.02 / WINDOW_S) - 1
    assert limit.windows == sum(ends)


@pytest.mark.parametrize(
    ("at", "before", "after", "permits"),
    [(8.0, 8, 12, 12), (3.0, 8, 12, 3), (8.0, 8, 2, 2), (1.5, 8, 2, 2)],
    ids=["was at its bound", "was below it", "a smaller bound", "was below the smaller one"],
)
def test_a_bound_that_changes_takes_along_who_was_at_it(
    at: float, before: int, after: int, permits: int
) -> None:
    limit = GradientLimit(before)
    limit.limit = at

    limit.bound(after)

    assert limit.permits == permits
