"""Sizing: the instances whose next one costs more than the late calls that it would spare.

With m calls that want a permit, N = n c permits and a mean service of S seconds, the share of
calls that wait a second or more is, by Erlang C in the form of Halfin and Whitt,

    beta = (N - m) / sqrt(z m)
    late(m, N) = 1                                                            where beta <= 0
    late(m, N) = exp(-(N - m) * 1 s / (z S)) / (1 + beta Phi(beta)/phi(beta))    elsewhere

(z = 1 where calls come independently of one another, more where they do not; see `peaked`)

and with scenarios m_j of weight w_j, each of which has m_j / S calls a second,

    risk(n) = sum_j w_j * 60 m_j / S * late(m_j, n c)      late calls in a minute
    n* = argmin_n  n + price * risk(n)

`price` is in instance-minutes for a late call. n* never falls with the price: risk falls in n.
Sources: Halfin, Whitt, Heavy-traffic limits for queues with many servers (1981); the newsvendor.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LATE_S = 1.0
MOST_CANDIDATES = 96
_BETA_MOST = 9.0  # the chance to wait is below 1e-17 there
_STEPS = 1800


def _waits() -> Floats:
    """Return the chance to wait at all for betas from 0 to `_BETA_MOST`."""
    beta = np.linspace(0.0, _BETA_MOST, _STEPS + 1)
    below = 0.5 * (1 + np.array([math.erf(each / math.sqrt(2)) for each in beta]))
    density = np.exp(-0.5 * beta * beta) / math.sqrt(2 * math.pi)
    return np.asarray(1 / (1 + beta * below / density))


_WAITS = _waits()


def late(load: Floats, permits: Floats, service_s: float, z: float = 1.0) -> Floats:
    """Return the share of calls that wait `LATE_S` or more; shapes as numpy broadcasts them."""
    spare = permits - load
    beta = np.maximum(spare, 0.0) / np.sqrt(np.maximum(z * load, 1e-9))
    at = np.minimum(beta * (_STEPS / _BETA_MOST), _STEPS - 1e-9)
    index = at.astype(np.int64)
    waits = _WAITS[index] + (at - index) * (_WAITS[index + 1] - _WAITS[index])
    shares = waits * np.exp(-np.maximum(spare, 0.0) * (LATE_S / (z * service_s)))
    return np.asarray(np.where(spare <= 0, np.where(load > 0, 1.0, 0.0), shares))


def candidates(loads: Floats, permits: int, z: float = 1.0) -> Floats:
    """Return the numbers of instances worth looking at, ascending; `loads` ascend, too."""
    low = math.floor(float(loads[0]) / permits)
    top = float(loads[-1])
    high = max(math.ceil((top + 5 * math.sqrt(z * top) + 1) / permits), low)
    if high - low < MOST_CANDIDATES:
        return np.arange(low, high + 1, dtype=np.float64)
    return np.unique(np.round(np.linspace(low, high, MOST_CANDIDATES)))


def risk(
    instances: Floats,
    loads: Floats,
    shares: Floats,
    permits: int,
    service_s: float,
    z: float = 1.0,
) -> Floats:
    """Return the late calls of a minute expected with each number of instances: (n,).

    `loads` (j,) are the scenarios and `shares` (j,) their weights, which add up to 1.
    """
    shown = late(loads[None, :], instances[:, None] * permits, service_s, z)
    return np.asarray(shown @ (shares * loads * (60.0 / service_s)))


def cheapest(instances: Floats, risks: Floats, prices: Floats) -> NDArray[np.int64]:
    """Return the index of the best number of instances at each price: (k,)."""
    costs = instances[None, :] + prices[:, None] * risks[None, :]
    return np.asarray(costs.argmin(axis=1))
