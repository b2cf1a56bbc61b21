"""Windows that slide over a whole series at once: means, maxima, minima."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


def mean_around(series: Numbers, width: int) -> NDArray[np.float64]:
    """Return the mean of the `width` values around each; fewer at the ends."""
    sums = np.concatenate(([0.0], np.cumsum(series, dtype=np.float64)))
    places = np.arange(len(series))
    low = np.maximum(places - (width - 1) // 2, 0)
    high = np.minimum(places + width // 2 + 1, len(series))
    means: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return means


def most_ahead(series: Numbers, width: int) -> Numbers:
    """Return the largest of each value and the `width - 1` after it.

    van Herk's way: maxima of blocks from both ends, and of two of these.
    """
    size = len(series)
    padded = np.full(-(-(size + width) // width) * width, series[-1], series.dtype)
    padded[:size] = series
    blocks = padded.reshape(-1, width)
    from_left = np.maximum.accumulate(blocks, axis=1).reshape(-1)
    from_right = np.maximum.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].reshape(-1)
    return np.maximum(from_right[:size], from_left[width - 1 : width - 1 + size])


def least_behind(series: Numbers, width: int) -> Numbers:
    """Return the smallest of each value and the `width - 1` before it."""
    return -most_ahead(-series[::-1], width)[::-1]


def closed(series: Numbers, gap: int) -> Numbers:
    """Return the series with every dip filled that is no longer than `gap`."""
    before = np.full(gap, series.min(), series.dtype)
    ahead = most_ahead(np.concatenate((before, series)), gap + 1)
    return least_behind(ahead, gap + 1)[gap:]
