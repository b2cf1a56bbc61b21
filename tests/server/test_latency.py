"""Latency: a mean that follows, and fades while nothing new is seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.server.latency import Latency


def seen(*sights: tuple[float, float]) -> Latency:
    latency = Latency()
    for seconds, now in sights:
        latency.seen(seconds, now=now, memory_s=10)
    return latency


def test_the_first_sight_is_the_mean() -> None:
    assert seen((0.2, 1000.0)).seconds == 0.2


def test_what_was_seen_a_memory_ago_counts_half() -> None:
    assert seen((1.0, 0.0), (2.0, 10.0)).seconds == pytest.approx(1.5)


def test_sights_at_the_same_moment_change_nothing() -> None:
    assert seen((1.0, 5.0), (9.0, 5.0)).seconds == 1.0


def test_it_fades_against_the_newest_sight_of_others() -> None:
    latency = seen((1.0, 100.0))

    assert latency.faded(100.0, 10) == 1.0
    assert latency.faded(90.0, 10) == 1.0, "older than its own"
    assert latency.faded(110.0, 10) == pytest.approx(0.5)
    assert latency.faded(1000.0, 10) < 0.02


def test_nothing_seen_is_nothing() -> None:
    assert Latency().faded(1e6, 10) == 0.0


@given(st.lists(st.tuples(st.floats(0.001, 100), st.floats(0, 1e4)), min_size=1))
def test_the_mean_is_within_what_was_seen(sights: list[tuple[float, float]]) -> None:
    latency = seen(*sorted(sights, key=lambda sight: sight[1]))

    seconds = [each for each, _ in sights]
    assert min(seconds) * 0.999 <= latency.seconds <= max(seconds) * 1.001
