"""The cells of a histogram: plain integers that whoever observes adds to."""

from __future__ import annotations

from bisect import bisect_left


class Cells:
    """How many values were in each bucket, and the sum of all; for one set of labels."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def __repr__(self) -> str:
        return f"<Cells {sum(self.counts)} values>"

    def observe(self, value: float) -> None:
        """Count a value; one that is on a bound belongs to the bucket below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
