"""Demand to instances, and whose bounds count."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Bounds, Model, Scaling
from libs.common.world_map import Override
from services.scheduler.capacity import Limits, limits, required_instances

WIDE = Limits(min=0, max=1000)


@pytest.mark.parametrize(
    ("demand", "permits", "utilization", "bounds", "instances"),
    [
        (0.0, 4, 0.8, WIDE, 0),
        (0.0, 4, 0.8, Limits(min=1, max=2), 1),
        (3.2, 4, 0.8, WIDE, 1),
        (3.3, 4, 0.8, WIDE, 2),
        (9.6, 4, 0.8, WIDE, 3),
        (8.0, 4, 1.0, WIDE, 2),
        (100.0, 4, 0.8, Limits(min=1, max=2), 2),
    ],
    ids=["idle", "minimum", "exact", "a bit more", "no rounding up", "full", "maximum"],
)
def test_required_instances(
    demand: float, permits: int, utilization: float, bounds: Limits, instances: int
) -> None:
    found = required_instances(
        demand, permits=permits, target_utilization=utilization, limits=bounds
    )

    assert found.instances == instances


def test_the_reason_names_what_limits() -> None:
    found = required_instances(9.0, permits=4, target_utilization=0.8, limits=Limits(min=1, max=2))

    assert found.reason == "demand 9.0 needs 3, the maximum is 2"


@given(
    st.floats(0, 1e6), st.integers(1, 64), st.floats(0.1, 1), st.integers(0, 9), st.integers(0, 9)
)
def test_it_carries_the_demand_within_the_bounds_and_no_more(
    demand: float, permits: int, utilization: float, low: int, more: int
) -> None:
    bounds = Limits(min=low, max=low + more)
    found = required_instances(
        demand, permits=permits, target_utilization=utilization, limits=bounds
    ).instances

    assert bounds.min <= found <= bounds.max
    per_instance = permits * utilization
    if found < bounds.max:
        assert found * per_instance >= demand * (1 - 1e-6) - 1e-6
    if found > bounds.min:
        assert (found - 1) * per_instance < demand
    assert not math.isnan(found)


MODEL = Model(
    name="m",
    task="text-generation",
    scaling=Scaling(min=1, max=4, region={"eu": Bounds(min=2), "us": Bounds(max=3)}),
)


def override(**fields: object) -> Override:
    return Override(model="m", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("region", "overrides", "expected"),
    [
        ("ap", [], Limits(min=1, max=4)),
        ("eu", [], Limits(min=2, max=4)),
        ("us", [], Limits(min=1, max=3)),
        ("eu", [override(min=3)], Limits(min=3, max=4)),
        ("eu", [override(region="eu", max=9), override(max=5)], Limits(min=2, max=9)),
        ("eu", [override(region="us", max=9)], Limits(min=2, max=4)),
        ("eu", [override(max=0)], Limits(min=0, max=0)),
        ("eu", [override(frozen=True)], Limits(min=2, max=4, frozen=True)),
        ("eu", [override(max=9, expires_at_ms=1000)], Limits(min=2, max=4)),
        ("eu", [override(max=9, expires_at_ms=1001)], Limits(min=2, max=9)),
        ("eu", [Override(model="other", max=9)], Limits(min=2, max=4)),
    ],
    ids=[
        "model",
        "region's min",
        "region's max",
        "override everywhere",
        "override of the region first",
        "another region's",
        "the maximum counts most",
        "frozen",
        "expired",
        "not yet expired",
        "another model's",
    ],
)
def test_limits(region: str, overrides: list[Override], expected: Limits) -> None:
    assert limits(MODEL, region, overrides, now_ms=1000) == expected
