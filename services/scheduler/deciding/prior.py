"""The prior: what a load may become, for a series of which too little is known.

    quantile_p = exp(L + z_p sqrt(0.2^2 + f x / (1 + x)^2)) - 1

a lognormal spread of a fifth, and besides the chance of a Poisson number, of whose variance the
mean of a minute keeps f (`peaked`): what calls swing within one is the sizing's to know. z_p is the
normal quantile; L the smoothed log(1 + x). Its share falls with the minutes n known:
120 / (120 + n).
Unit: permits; shape: (P,).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from services.scheduler.deciding.minutes import Floats
from services.scheduler.deciding.peaked import left
from services.scheduler.deciding.residuals import PROBABILITIES
from services.scheduler.deciding.signal import MINUTE_S

SPREAD = 0.2
MINUTES = 120.0
_NORMAL = np.array([NormalDist().inv_cdf(float(each)) for each in PROBABILITIES])


def quantiles(smoothed: float, service_s: float) -> Floats:
    """Return the quantiles of the load around a smoothed log(1 + x)."""
    chance = (math.exp(-smoothed) - math.exp(-2 * smoothed)) * left(MINUTE_S, service_s)
    spread = math.sqrt(SPREAD**2 + chance)
    return np.expm1(np.maximum(smoothed + _NORMAL * spread, 0.0))


def share(minutes: int) -> float:
    """Return how much the prior counts beside what is known."""
    return MINUTES / (MINUTES + max(minutes, 0))
