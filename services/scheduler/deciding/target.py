"""The target: the largest load until a later decision helps.

    y(t) = max of l(t + 1) .. l(t + h),   h = ceil(boot / 60) + 1

What is ordered at the end of minute t serves from minute t + 1 + boot on, and what is ordered a
minute later one minute later: this decision answers for all minutes before that. For another h
all is learned anew, so it becomes smaller only for a boot that is SLACK_S shorter than it must be.
Unit: log(1 + permits).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Singles = NDArray[np.float32]

MOST_MINUTES = 30
SLACK_S = 6.0


def horizon(boot_s: float, last: int = 0) -> int:
    """Return h for a boot time; `last` is the one so far."""
    return max(_least(boot_s), min(_least(boot_s + SLACK_S), last))


def _least(boot_s: float) -> int:
    return min(max(math.ceil(boot_s / 60 - 1e-9), 0) + 1, MOST_MINUTES)


def rolling_max(values: Singles, window: int) -> Singles:
    """Return the maximum of each run of `window` values: (n,) to (n - window + 1,)."""
    width, largest = 1, values
    while 2 * width <= window:
        largest = np.maximum(largest[width:], largest[:-width])
        width *= 2
    if width < window:
        more = window - width
        largest = np.maximum(largest[more:], largest[:-more])
    return largest


def targets(logs: Singles, minutes: int) -> Singles:
    """Return y of each minute whose target is known: (n,) to (n - minutes,)."""
    if logs.size <= minutes:
        return np.empty(0, dtype=np.float32)
    return rolling_max(logs[1:], minutes)
