"""Statistics of small samples: percentiles, medians, the spread over rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The middle of several rounds, and the outermost of them."""

    median: float
    lowest: float
    highest: float


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value that `share` of all values do not exceed; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return the spread of those that there are; None of nothing."""
    there = [each for each in values if each is not None]
    if not there:
        return None
    return Spread(median=statistics.median(there), lowest=min(there), highest=max(there))


def ratios(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float]:
    """Return the ratio of each round in which both were measured; rounds stay paired."""
    pairs = zip(ours, theirs, strict=False)
    return [a / b for a, b in pairs if a is not None and b is not None and a > 0 and b > 0]


def difference(through: float | None, direct: float | None) -> float | None:
    """Return what a hop adds; None where either is unknown."""
    return None if through is None or direct is None else through - direct
