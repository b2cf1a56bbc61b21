"""Quantiles of residuals: what was seen up to .99, an exponential tail beyond.

    q_p = the empirical quantile                p <= .99
    q_p = q.99 + beta ln(.01 / (1 - p))         beyond; beta = the mean excess over q.95

A generalized Pareto tail would be heavier, and is estimated badly from a week.
Shape: (n,) to (P,). Source: Embrechts, Kluppelberg, Mikosch, Modelling Extremal Events (1997).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.scheduler.deciding.minutes import Floats

PROBABILITIES = np.array(
    [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9998]
)
_TAIL = PROBABILITIES > 0.99
_BODY = PROBABILITIES[~_TAIL]
_BEYOND = np.log(0.01 / (1 - PROBABILITIES[_TAIL]))


def _shares() -> Floats:
    edges = np.concatenate([[0.0], (PROBABILITIES[1:] + PROBABILITIES[:-1]) / 2, [1.0]])
    return np.diff(edges)


SHARES = _shares()  # the weight of each quantile as a scenario; they add up to 1


def quantiles(residuals: NDArray[np.floating]) -> Floats:
    """Return the residuals' quantiles at `PROBABILITIES`; there must be one residual at least."""
    ordered = np.sort(residuals).astype(np.float64)
    at = _BODY * (ordered.size - 1)
    below = at.astype(np.int64)
    above = np.minimum(below + 1, ordered.size - 1)
    body = ordered[below] + (at - below) * (ordered[above] - ordered[below])
    largest = ordered[int(0.95 * (ordered.size - 1)) :]
    excess = float(largest.mean() - largest[0])
    return np.concatenate([body, body[-1] + excess * _BEYOND])
