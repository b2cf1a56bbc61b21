"""The load that is drawn of a trace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from services.scheduler.simulate.load import CHUNK_S, ServiceLaw, load_of
from services.scheduler.simulate.traces import Trace


def trace(requests: Sequence[int], *, bin_s: int = 60, service_s: float = np.nan) -> Trace:
    unknown = np.full(len(requests), np.nan)
    return Trace(
        name="some",
        bin_s=bin_s,
        requests=np.array(requests, np.int64),
        mean_service_s=np.full(len(requests), service_s),
        mean_in_tokens=unknown,
        mean_out_tokens=unknown,
    )


def test_every_request_of_a_bin_arrives_within_it() -> None:
    load = load_of(trace([30, 0, 600]), ServiceLaw(), warmup_s=0, seed=1)

    assert load.arrivals.reshape(3, 60).sum(axis=1).tolist() == [30, 0, 600]
    assert np.count_nonzero(load.arrivals[:60]) > 10


def test_seconds_are_taken_as_they_are() -> None:
    load = load_of(trace([3, 0, 5], bin_s=1), ServiceLaw(), warmup_s=0, seed=1)

    assert load.arrivals.tolist() == [3, 0, 5]


def test_the_mean_and_the_spread_of_the_service_are_kept() -> None:
    bins = [200] * 2 * (CHUNK_S // 60)
    load = load_of(trace(bins), ServiceLaw(mean_s=4, cv=1), warmup_s=0, seed=1)

    arrived = np.repeat(np.arange(load.seconds), load.arrivals)
    steps = load.ends - arrived
    assert steps.mean() == pytest.approx(4, rel=0.01)
    assert steps.std() == pytest.approx(4, rel=0.05)  # that of the fractions is small beside it
    assert load.service_mean_s == pytest.approx(4, rel=0.01)
    # Little's law
    assert load.demand.mean() == pytest.approx(200 / 60 * 4, rel=0.01)


@pytest.mark.parametrize("mean_s", [0.05, 0.5])
def test_a_service_shorter_than_a_step_keeps_its_mean(mean_s: float) -> None:
    load = load_of(trace([3000] * 200), ServiceLaw(mean_s=mean_s, cv=0), warmup_s=0, seed=1)

    assert load.demand.mean() == pytest.approx(50 * mean_s, rel=0.02)


def test_the_service_times_of_the_trace_go_first() -> None:
    load = load_of(trace([100], service_s=9), ServiceLaw(mean_s=4, cv=0), warmup_s=0, seed=1)

    assert load.service_mean_s == pytest.approx(9)


def test_demand_is_who_has_come_and_not_gone() -> None:
    load = load_of(trace([50, 20, 0, 90]), ServiceLaw(mean_s=20), warmup_s=0, seed=2)

    arrived = np.repeat(np.arange(load.seconds), load.arrivals)
    for t in range(0, load.seconds, 7):
        assert load.demand[t] == np.sum((arrived <= t) & (load.ends > t))
        assert load.ended[t] == np.sum(load.ends < t)
    assert load.peak(8) == -(-load.demand.max() // 8)


def test_the_warm_up_is_at_most_half() -> None:
    assert load_of(trace([1, 1]), ServiceLaw(), warmup_s=10, seed=1).warmup_s == 10
    assert load_of(trace([1, 1]), ServiceLaw(), warmup_s=100, seed=1).warmup_s == 60


def test_the_same_seed_draws_the_same() -> None:
    one, same, other = (
        load_of(trace([50, 90]), ServiceLaw(), warmup_s=0, seed=seed) for seed in (1, 1, 2)
    )

    assert np.array_equal(one.ends, same.ends)
    assert not np.array_equal(one.ends, other.ends)
