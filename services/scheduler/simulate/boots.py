"""Boots that take more or less time, and some that fail and are tried again.

An attempt takes a lognormal time with the given mean and coefficient of variation, and fails at
its end with the given chance; the node then waits, twice as long after every failure, and tries
again. Its place is taken, and paid, all the while.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BOOTS = 3  # the stream of random numbers
FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BootLaw:
    """How long it takes from the decision to an instance that serves."""

    mean_s: float = 120.0  # of an attempt
    cv: float = 0.0
    failures: float = 0.0  # share of attempts


class Boots:
    """Says how long each boot takes, one after the other."""

    def __init__(self, law: BootLaw, seed: int) -> None:
        self._law = law
        self._rng = np.random.default_rng([seed, BOOTS])

    def __repr__(self) -> str:
        return f"<Boots {self._law}>"

    def __call__(self) -> int:
        """Return the seconds until the next instance is ready."""
        total, pause_s = self._attempt(), FIRST_PAUSE_S
        while self._law.failures and self._rng.random() < self._law.failures:
            total += pause_s + self._attempt()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return round(total)

    def _attempt(self) -> float:
        if not self._law.cv:
            return self._law.mean_s
        variance = np.log1p(self._law.cv**2)  # of the logarithm
        return float(self._law.mean_s * self._rng.lognormal(-variance / 2, np.sqrt(variance)))
