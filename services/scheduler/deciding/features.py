"""The features that the ridge sees of a minute t: what was, relative to what is.

    l(t - k) - L                k = 0, 1, 2, 3, 5, 8, 13, 21, 34
    mean of the last k - L      k = 15, 60, 240
    maximum of the last k - L   k = 3, 10, 30, 60
    y(t - k days) - L           k = 1, 2, 7; 0 before the history
    L, exp(-L / 2)              the level, and how much chance there is at it
    sin, cos of j 2 pi t/day    j = 1 .. 4
    1

l = log(1 + x), L = the mean of its last three, y = the target. Shape: (minutes, COUNT).
Source: reference measurements.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from services.scheduler.deciding.minutes import DAY, Floats, Minutes
from services.scheduler.deciding.target import rolling_max

_LAGS = np.array([0, 1, 2, 3, 5, 8, 13, 21, 34])
_MEANS = np.array([15, 60, 240])
_PEAKS = (3, 10, 30, 60)
_PEAK_ENDS = np.array(_PEAKS) - 1
_DAYS = np.array([1, 2, 7]) * DAY
_HARMONICS = 4
COUNT = len(_LAGS) + len(_MEANS) + len(_PEAKS) + len(_DAYS) + 2 + 2 * _HARMONICS + 1


def _circle() -> Floats:
    angles = 2 * math.pi / DAY * np.outer(np.arange(DAY), np.arange(1, _HARMONICS + 1))
    return np.hstack([np.sin(angles), np.cos(angles)])


_CIRCLE = _circle()


def matrix(minutes: Minutes, start: int, horizon: int) -> Floats:
    """Return the features of the minutes kept from the `start`th on."""
    logs, at = minutes.logs, np.arange(start, minutes.count)
    table = np.empty((at.size, COUNT))
    lags = logs[np.maximum(at[:, None] - _LAGS, 0)]
    level = (lags[:, 0] + lags[:, 1] + lags[:, 2]) / 3
    column = 0
    for values in (
        lags,
        _means(minutes, at),
        _peaks(minutes, start),
        _seasons(minutes, at, level, horizon),
    ):
        table[:, column : column + values.shape[1]] = values - level[:, None]
        column += values.shape[1]
    table[:, column] = level
    table[:, column + 1] = np.exp(-level / 2)
    table[:, column + 2 : -1] = _CIRCLE[(minutes.first + at) % DAY]
    table[:, -1] = 1.0
    return table


def _means(minutes: Minutes, at: NDArray[np.int64]) -> Floats:
    """Return means of windows, cut short where the history begins: (m, 3)."""
    ends = at[:, None] + 1
    starts = np.maximum(ends - _MEANS, 0)
    first = int(starts[0, -1])
    sums = np.concatenate([[0.0], np.cumsum(minutes.logs[first:], dtype=np.float64)])
    return np.asarray((sums[ends - first] - sums[starts - first]) / (ends - starts))


def _peaks(minutes: Minutes, start: int) -> Floats:
    """Return maxima of windows, cut short where the history begins: (m, 4)."""
    most = _PEAKS[-1] - 1
    logs = minutes.logs[max(start - most, 0) :]
    if start < most:
        logs = np.concatenate([np.full(most - start, logs[0]), logs])
    wanted = minutes.count - start
    if wanted == 1:  # as every minute: one pass for all windows
        return np.asarray(np.maximum.accumulate(logs[::-1])[None, _PEAK_ENDS])
    return np.stack([rolling_max(logs, each)[-wanted:] for each in _PEAKS], axis=1)


def _seasons(minutes: Minutes, at: NDArray[np.int64], level: Floats, horizon: int) -> Floats:
    """Return the targets of the same minute on earlier days, L where there was none: (m, 3)."""
    then = at[:, None] - _DAYS
    if at.size > DAY:  # one pass over all, where there are many
        found = rolling_max(minutes.logs[1:], horizon)[np.maximum(then, 0)]
    else:
        window = np.maximum(then, 0)[:, :, None] + np.arange(1, horizon + 1)
        found = minutes.logs[np.minimum(window, minutes.count - 1)].max(axis=2)
    return np.where(then >= 0, found, level[:, None])
