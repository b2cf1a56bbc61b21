"""Late calls by Erlang C, and the instances that pay."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.deciding.residuals import PROBABILITIES, SHARES
from services.scheduler.deciding.sizing import candidates, cheapest, late, risk

loads = st.floats(0, 1e5)
permits = st.integers(1, 64)
services = st.floats(0.01, 600)


def erlang_c(load: float, servers: int) -> float:
    """Return the chance to wait, by the exact recursion of Erlang B."""
    blocked = 1.0
    for each in range(1, servers + 1):
        blocked = load * blocked / (each + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


@pytest.mark.parametrize(("load", "servers"), [(8.0, 12), (40.0, 48), (200.0, 220), (900.0, 960)])
def test_it_is_near_the_exact_share_that_waits(load: float, servers: int) -> None:
    exact = erlang_c(load, servers) * math.exp(-(servers - load) / 4.0)

    assert late(np.array(load), np.array(servers), 4.0) == pytest.approx(exact, rel=0.3)


@pytest.mark.parametrize(
    ("load", "servers", "share"),
    [(0.0, 0, 0.0), (0.0, 8, 0.0), (8.0, 8, 1.0), (9.0, 8, 1.0), (1.0, 0, 1.0), (1.0, 200, 0.0)],
    ids=["nothing", "idle", "full", "over", "none", "plenty"],
)
def test_the_ends(load: float, servers: int, share: float) -> None:
    assert late(np.array(load), np.array(servers), 4.0) == pytest.approx(share, abs=1e-12)


@given(loads, services)
def test_a_share_is_one_and_falls_with_the_permits(load: float, service_s: float) -> None:
    found = late(np.array(load), np.arange(0.0, 300.0), service_s)

    assert np.all((found >= 0) & (found <= 1))
    assert np.all(np.diff(found) <= 1e-12)


@given(st.lists(loads, min_size=2, max_size=2), permits, services, st.floats(1e-3, 1e3))
def test_the_requirement_never_falls_with_the_price(
    ends: list[float], each: int, service_s: float, price: float
) -> None:
    scenarios = np.quantile(sorted(ends), PROBABILITIES)
    instances = candidates(scenarios, each)
    risks = risk(instances, scenarios, SHARES, each, service_s)
    prices = price * np.geomspace(1e-3, 1e3, 20)

    found = instances[cheapest(instances, risks, prices)]

    assert np.all(np.diff(found) >= 0)
    assert np.all(np.isfinite(risks))


def test_one_more_is_taken_when_it_spares_more_than_it_costs() -> None:
    instances, risks = np.array([1.0, 2.0, 3.0]), np.array([10.0, 4.0, 3.0])

    found = instances[cheapest(instances, risks, np.array([0.1, 0.2, 0.9, 1.1]))]

    assert found.tolist() == [1, 2, 2, 3]


def test_a_large_fleet_is_looked_at_in_steps() -> None:
    assert len(candidates(np.array([0.0, 1e6]), 4)) <= 96
