"""How many instances a demand needs, within the bounds of the catalog and of operators."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from libs.common.catalog import Bounds, Model
from libs.common.world_map import Override


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Fewest and most instances; frozen: neither up nor down."""

    min: int
    max: int
    frozen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """How many instances are needed, and why so many."""

    instances: int
    reason: str


def limits(model: Model, region: str, overrides: Iterable[Override], *, now_ms: int) -> Limits:
    """Return the bounds of a model in a region: the most special word counts, the maximum most."""
    mine = [
        each
        for each in sorted(overrides, key=lambda each: each.region != "")
        if each.model == model.name
        and each.region in ("", region)
        and not 0 < each.expires_at_ms <= now_ms
    ]
    low, high = model.scaling.min, model.scaling.max
    special: list[Bounds | Override] = [model.scaling.region.get(region, Bounds()), *mine]
    for each in special:
        low = low if each.min is None else each.min
        high = high if each.max is None else each.max
    return Limits(min=min(low, high), max=high, frozen=any(each.frozen for each in mine))


def required_instances(
    demand: float, *, permits: int, target_utilization: float, limits: Limits
) -> Requirement:
    """Return how many instances hold `demand` permits at the utilization aimed at."""
    # a hair less, so that 3 * 0.8 / 0.8 is 3 and not 4
    needed = math.ceil(demand / (permits * target_utilization) - 1e-9)
    reason = f"demand {demand:.1f} needs {needed}"
    if needed < limits.min:
        return Requirement(instances=limits.min, reason=f"{reason}, the minimum is {limits.min}")
    if needed > limits.max:
        return Requirement(instances=limits.max, reason=f"{reason}, the maximum is {limits.max}")
    return Requirement(instances=needed, reason=reason)
