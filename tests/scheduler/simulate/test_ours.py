"""Priced quantiles in simulated time."""

from __future__ import annotations

from services.scheduler.simulate.ours import FAMILY
from services.scheduler.simulate.policy import Observation, Terms


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
