"""The batcher: when a write is due, how much it takes, and what it has no room for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.batcher import Batcher, BatchPolicy

POLICY = BatchPolicy(write_events=10, write_age_seconds=0.2, waiting_events=25)


@pytest.mark.parametrize(
    ("added", "now", "wait"),
    [
        pytest.param([], 100.0, None, id="nothing waits"),
        pytest.param([(3, 100.0)], 100.0, 0.2, id="the first has just come"),
        pytest.param([(3, 100.0)], 100.15, 0.05, id="the first has waited a while"),
        pytest.param([(3, 100.0), (3, 100.1)], 100.15, 0.05, id="the oldest counts"),
        pytest.param([(3, 100.0)], 107.0, 0.0, id="old enough"),
        pytest.param([(3, 100.0), (7, 100.0)], 100.0, 0.0, id="enough events"),
    ],
)
def test_a_write_is_due_by_count_or_by_age(
    added: list[tuple[int, float]], now: float, wait: float | None
) -> None:
    batcher: Batcher[str] = Batcher(POLICY)
    for events, since in added:
        batcher.add("batch", events=events, now=since)

    assert batcher.wait_seconds(now) == (None if wait is None else pytest.approx(wait))


def test_a_write_ends_with_the_batch_that_reaches_the_count() -> None:
    batcher: Batcher[str] = Batcher(POLICY)
    for name, events in (("a", 6), ("b", 7), ("c", 1)):
        batcher.add(name, events=events, now=0.0)

    assert batcher.take() == ["a", "b"]
    assert batcher.take() == ["c"]
    assert batcher.take() == []


def test_a_line_at_its_bound_is_full_until_a_write_is_taken() -> None:
    batcher: Batcher[str] = Batcher(POLICY)
    for _ in range(3):
        batcher.add("batch", events=9, now=0.0)

    assert batcher.is_full
    assert repr(batcher) == "<Batcher batches=3 events=27>"
    batcher.take()
    assert not batcher.is_full


@given(st.lists(st.integers(1, 40)))
def test_writes_have_all_batches_in_their_order(sizes: list[int]) -> None:
    batcher: Batcher[int] = Batcher(POLICY)
    for number, events in enumerate(sizes):
        batcher.add(number, events=events, now=0.0)

    writes = []
    while write := batcher.take():
        writes.append(write)

    assert [number for write in writes for number in write] == list(range(len(sizes)))
    assert batcher.events == 0
