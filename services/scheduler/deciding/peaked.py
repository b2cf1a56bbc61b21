"""How much more a load swings within a minute than chance alone would have it.

Calls that come independently of one another make a Poisson number in flight; batches and retries
make more. With m the mean of a minute, seen as means of spans of T seconds, and services of S,

    expected = m (f(T) - f(60)),   f(T) = (2 S / T) (1 - (S / T) (1 - exp(-T / S)))
    z        = median over minutes of  variance within the minute / expected,  at least 1

f is what averaging over T leaves of a Poisson number's variance where services are exponential. The
median, as a jump within a minute is no swing; it is followed step by step (Robbins, Monro 1951).
sqrt(z m) stands for sqrt(m) wherever chance counts: the peakedness of Hayward's approximation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

STEP = 0.02  # of the logarithm, a minute
MOST = 50.0
_LEAST_LOAD = 2.0  # permits: below, a number of calls is too coarse to have a variance
_SLACK = 1.1  # above the median of chance itself, so that it is not taken for more


def left(seconds: float, service_s: float) -> float:
    """Return f: the share of the variance that a mean over so many seconds keeps."""
    ratio = service_s / seconds
    return 2 * ratio * (1 - ratio * -math.expm1(-1 / ratio))


@dataclass(slots=True)
class Peakedness:
    """Follows the median."""

    median: float = 1.0

    @property
    def z(self) -> float:
        """How many times the variance is that of chance; at least 1."""
        return max(self.median / _SLACK, 1.0)

    def learn(self, load: float, variance: float, *, span_s: float, service_s: float) -> None:
        """Take in a minute: its mean, and the variance of its spans' means."""
        if load < _LEAST_LOAD or not 0 < span_s <= 30:
            return
        chance = load * (left(span_s, service_s) - left(60.0, service_s))
        if chance <= 0:
            return
        step = STEP if variance / chance > self.median else -STEP
        self.median = min(max(self.median * math.exp(step), 1 / MOST), MOST)
