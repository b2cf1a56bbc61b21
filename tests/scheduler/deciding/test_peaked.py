"""How much a load swings within a minute."""

from __future__ import annotations

import numpy as np
import pytest

from services.scheduler.deciding.peaked import Peakedness, left
from services.scheduler.deciding.sizing import late

SERVICE_S = 4.0
MINUTES = 600


def told(batch: int, seed: int = 1) -> Peakedness:
    """A load of 40 whose calls come in batches of so many, seen in spans of 5 s."""
    rng = np.random.default_rng(seed)
    seconds = MINUTES * 60
    starts = np.repeat(rng.uniform(0, seconds, rng.poisson(10 * seconds / batch)), batch)
    ends = starts + rng.exponential(SERVICE_S, starts.size)
    steps = np.arange(seconds)
    counts = np.searchsorted(np.sort(starts), steps) - np.searchsorted(np.sort(ends), steps)
    spans = counts.reshape(MINUTES, 12, 5).mean(axis=2)
    peaked = Peakedness()
    for each in spans[1:]:
        peaked.learn(each.mean(), each.var(), span_s=5.0, service_s=SERVICE_S)
    return peaked


def test_calls_that_come_independently_are_not_peaked() -> None:
    assert told(batch=1).z == pytest.approx(1.0, abs=0.1)


def test_calls_that_come_in_batches_are() -> None:
    assert told(batch=12).z == pytest.approx(6.5, rel=0.4)  # (12 + 1) / 2: each has its own service


def test_a_jump_is_no_swing() -> None:
    peaked = told(batch=1)

    peaked.learn(100.0, 2500.0, span_s=5.0, service_s=SERVICE_S)

    assert peaked.z == pytest.approx(1.0, abs=0.1)


def test_a_mean_over_long_keeps_little() -> None:
    assert left(0.01, 4.0) == pytest.approx(1, rel=0.01)
    assert left(4000.0, 4.0) == pytest.approx(0.002, rel=0.01)


def test_a_peaked_load_needs_more_room() -> None:
    calm, peaked = (late(np.array(40.0), np.array(56.0), SERVICE_S, z) for z in (1.0, 4.0))

    assert peaked > 10 * calm
