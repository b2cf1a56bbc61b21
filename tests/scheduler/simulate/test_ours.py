"""Priced quantiles in simulated time."""

from __future__ import annotations

import numpy as np

from services.scheduler.simulate.conditions import Conditions, trial_on
from services.scheduler.simulate.load import ServiceLaw
from services.scheduler.simulate.ours import FAMILY
from services.scheduler.simulate.policy import Observation, Terms
from services.scheduler.simulate.replay import replay
from services.scheduler.simulate.traces import Trace


def seen(t: float, demand: int) -> Observation:
    arrivals = round(demand * 5 / 4)
    return Observation(t, 20, 0, 8, demand, 0, 5.0, arrivals, arrivals, 0, 0, demand, demand, 4.0)


def test_it_follows_the_load() -> None:
    policy = FAMILY.make(Terms(), **FAMILY.configurations[0])

    few = [policy.wanted(seen(t, 24)) for t in range(5, 1205, 5)]
    many = [policy.wanted(seen(t, 120)) for t in range(1205, 2405, 5)]

    assert 3 < few[-1] < 10
    assert many[2] >= 15
    assert 15 < many[-1] < 40  # a jump in so short a history may come again


def test_a_new_series_follows_a_load_that_doubles_and_halves() -> None:
    """Four permits each, 4 calls in flight or 8, for a quarter of an hour in turn."""
    requests = np.array([120 if minute // 15 % 2 == 0 else 240 for minute in range(90)])
    unknown = np.full(len(requests), np.nan)
    trace = Trace(
        name="steps",
        bin_s=60,
        requests=requests,
        mean_service_s=unknown,
        mean_in_tokens=unknown,
        mean_out_tokens=unknown,
    )
    service = ServiceLaw(mean_s=2.0, cv=0.5)
    conditions = Conditions(permits=4, service=service, boot_s=3.0, maximum=8, warmup_days=0.0)
    trial = trial_on(trace, conditions)

    outcome, _ = replay(trial.new_service(), FAMILY.make(trial.terms, aim=0.8))

    steady = [outcome.paid[60 * (15 * part + 6) : 60 * 15 * (part + 1)].mean() for part in range(6)]
    low, high = steady[::2], steady[1::2]
    assert max(low) < 4
    assert min(high) > 4
    assert max(high) < 6.5
    assert outcome.late_share < 0.005
