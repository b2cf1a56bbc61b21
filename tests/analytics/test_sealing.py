"""When batches are sealed, in simulated time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest

from libs.common.events.sealing import SOON_S, Sealing

FLUSH_S = 0.010


def batches(arrivals: Iterable[float], flush_s: float = FLUSH_S) -> Iterator[tuple[float, int]]:
    """Yield when each batch is sealed, and how many events it has."""
    sealing = Sealing(flush_s)
    due, events = 0.0, 0
    for at in [*arrivals, float("inf")]:
        if events and due <= at:
            sealing.sealed(due, events)
            yield due, events
            events = 0
        if not events:
            due = sealing.due(at)
        events += 1


@pytest.mark.parametrize("seed", range(20))
def test_calls_one_by_one_are_sealed_soon_after_each_whatever_their_jitter(seed: int) -> None:
    rng = random.Random(seed)
    arrivals = [1.0 + at * FLUSH_S + rng.random() * 0.004 for at in range(1000)]

    found = list(batches(arrivals))

    assert [events for _, events in found] == [1] * 1000
    late = [due - at for (due, _), at in zip(found, arrivals, strict=True)]
    assert max(late) == pytest.approx(SOON_S)


def test_one_that_was_late_does_not_make_those_after_it_late() -> None:
    arrivals = [1.0 + at * FLUSH_S + (0.006 if at == 5 else 0.0) for at in range(20)]

    late = [due - at for (due, _), at in zip(batches(arrivals), arrivals, strict=True)]

    assert late[:6] == pytest.approx([SOON_S] * 6)
    assert late[8:] == pytest.approx([SOON_S] * 12)


@pytest.mark.parametrize("rate", [300.0, 1000.0, 10_000.0])
def test_among_many_a_batch_comes_each_flush_s(rate: float) -> None:
    arrivals = [1.0 + at / rate for at in range(int(rate))]

    found = list(batches(arrivals))

    assert sum(events for _, events in found) == len(arrivals)
    gaps = [b - a for (a, _), (b, _) in pairwise(found[1:])]
    assert min(gaps) >= FLUSH_S - 1e-9
    assert max(gaps) <= FLUSH_S + 1 / rate + 1e-9


def test_after_a_pause_many_are_sealed_soon_again() -> None:
    arrivals = [1.0 + at / 1000 for at in range(100)] + [5.0]

    *_, (due, events) = batches(arrivals)

    assert (due, events) == (5.0 + SOON_S, 1)


def test_a_bound_below_the_soon_is_kept() -> None:
    assert list(batches([1.0], flush_s=0.0005)) == [(1.0 + 0.0005, 1)]
