"""Who gets how many of too few places."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.deciding.sharing import SWITCH, Share, shared


def share(*worth: float, least: int = 0, most: int = 99, has: int = 0) -> Share:
    return Share(worth=np.array([0.0, *worth]), least=least, most=most, has=has)


CASES = {
    "each what it would have": ([share(5, 9), share(4, 6)], 4, [2, 2]),
    "the best first": ([share(5, 8), share(4, 6)], 2, [1, 1]),
    "half of what a model needs may be worth nothing": (
        [share(0, 0, 10), share(3, 4, 5)],
        3,
        [3, 0],
    ),
    "and the rest goes to others": ([share(0, 0, 10), share(3, 4, 5)], 5, [3, 2]),
    "what is promised": ([share(5, 9), share(0, 0, least=2)], 3, [1, 2]),
    "no more than would do": ([share(5, 9, most=1), share(1, 2)], 3, [1, 2]),
    "what it has counts for more": ([share(5, 9), share(4.5, 6, has=1)], 1, [0, 1]),
    "but not for much more": ([share(5, 9), share(3.9, 6, has=1)], 1, [1, 0]),
    "nothing of no places": ([share(5, 9)], 0, [0]),
}


@pytest.mark.parametrize(("shares", "places", "expected"), CASES.values(), ids=CASES)
def test_places_go(shares: list[Share], places: int, expected: list[int]) -> None:
    assert shared(shares, places) == expected


def test_promises_that_do_not_fit_are_told() -> None:
    with pytest.raises(ValueError, match="3"):
        shared([share(1, least=4)], 3)


MODELS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(0, 1), st.integers(0, 4)
    ),
    min_size=1,
    max_size=3,
)


@given(models=MODELS, places=st.integers(3, 8))
def test_no_other_way_is_better(models: list[tuple[list[int], int, int]], places: int) -> None:
    shares = [
        share(*np.cumsum(steps).tolist(), least=least, most=len(steps), has=min(has, len(steps)))
        for steps, least, has in models
    ]

    def value(one: Share, count: int) -> float:
        kept = one.worth[min(count, one.has)]
        return float(kept + (one.worth[count] - kept) / SWITCH)

    def total(counts: tuple[int, ...]) -> float:
        return sum(value(one, count) for one, count in zip(shares, counts, strict=True))

    ways = product(*(range(one.least, one.most + 1) for one in shares))
    best = max(total(way) for way in ways if sum(way) <= places)
    found = shared(shares, places)

    assert sum(found) <= places
    assert total(tuple(found)) == pytest.approx(best)
