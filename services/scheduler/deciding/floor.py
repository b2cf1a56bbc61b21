"""The reactive floor: what the last ten seconds need now, when the minute has not seen it coming.

    if m10 > x + 3 sqrt(z x):   n >= ceil((m10 + sqrt(z m10)) / c)

m10 is the demand of the last 10 s, x that of the last minutes: three standard deviations of a
Poisson number are more than chance (z: see `peaked`). Unit: instances. Source: reference
measurements.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

WINDOW_S = 10.0


@dataclass(slots=True)
class Recent:
    """The demand of the last `WINDOW_S` seconds, from spans that are shorter or longer."""

    mean: float = 0.0  # 0 before there was any
    spans: deque[tuple[float, float]] = field(default_factory=deque)  # seconds, demand

    def add(self, seconds: float, load: float) -> None:
        """Take in a span."""
        spans = self.spans
        spans.append((seconds, load))
        total = sum([each for each, _ in spans])
        while total - spans[0][0] >= WINDOW_S - 1e-6:
            total -= spans.popleft()[0]
        self.mean = sum([each * load for each, load in spans]) / total


def floor(recent: float, usual: float, permits: int, z: float = 1.0) -> int:
    """Return the fewest instances for a load that has just left what is usual; 0 if it has not."""
    if recent <= usual + 3 * math.sqrt(z * usual) or recent <= 0:
        return 0
    return math.ceil((recent + math.sqrt(z * recent)) / permits - 1e-9)
