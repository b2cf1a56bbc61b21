"""The prior: what a load may become, for a series of which too little is known.

    quantile_p = expm1(L + z_p sqrt(0.2^2 + 1 / (1 + x)))

a lognormal spread of a fifth, and the chance of a Poisson number besides. z_p is the normal
quantile; L the smoothed log(1 + x). Unit: permits; shape as the probabilities.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

SPREAD = 0.2

# The body by what has been seen, the tail beyond .99 by an exponential fit to it.
PROBABILITIES = np.array(
    [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9998]
)
_NORMAL = np.array([NormalDist().inv_cdf(float(each)) for each in PROBABILITIES])


def _shares() -> NDArray[np.float64]:
    edges = np.concatenate([[0.0], (PROBABILITIES[1:] + PROBABILITIES[:-1]) / 2, [1.0]])
    return np.diff(edges)


SHARES = _shares()  # the weight of each quantile as a scenario


def quantiles(smoothed: float) -> NDArray[np.float64]:
    """Return the quantiles of the load around a smoothed log(1 + x)."""
    load = math.expm1(smoothed)
    spread = math.sqrt(SPREAD**2 + 1 / (1 + load))
    return np.expm1(np.maximum(smoothed + _NORMAL * spread, 0.0))
