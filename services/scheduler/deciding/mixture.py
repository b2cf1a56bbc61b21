"""The mixture: experts weighed by how well they have said, above all the tail.

    loss_k  = sum_p u_p pinball_p(X - Q_kp),   pinball_p(e) = max(p e, (p - 1) e)
    A_k     = exponential mean of loss_k, half-life 1.5 days
    w_k    ~= exp(-12 (A_k / min A - 1))
    Q_p     = sum_k w_k Q_kp

u_p = 1 / sqrt(1 - p), as what costs late calls is the tail. A mean of quantiles keeps them in
order. Sources: Vovk (1990), aggregating; Koenker, Bassett (1978), the pinball loss.
"""

from __future__ import annotations

import numpy as np

from services.scheduler.deciding.minutes import DAY, Floats
from services.scheduler.deciding.residuals import PROBABILITIES

HALF_LIFE = 1.5 * DAY
SHARPNESS = 12.0
_KEPT = 0.5 ** (1 / HALF_LIFE)
_TAIL = 1 / np.sqrt(1 - PROBABILITIES)
_LEAST = 1e-9


def pinball(said: Floats, came: float) -> Floats:
    """Return the tail-weighted loss of each expert: (K, P) to (K,)."""
    errors = came - said
    return np.asarray(np.maximum(PROBABILITIES * errors, (PROBABILITIES - 1) * errors) @ _TAIL)


class Mixture:
    """The experts' mean losses; one that has said nothing yet has no weight."""

    def __init__(self, experts: int) -> None:
        self.losses: Floats = np.zeros(experts)
        self.counts: Floats = np.zeros(experts)

    def __repr__(self) -> str:
        return f"<Mixture {np.round(self.losses / np.maximum(self.counts, _LEAST), 2)}>"

    def score(self, said: Floats, came: float) -> None:
        """Take in what the experts had said of a target that is known now."""
        loss = pinball(said, came)
        spoke = ~np.isnan(loss)
        new, old = spoke & (self.counts == 0), self.counts > 0
        if new.any() and old.any():  # no better than the others, until it has shown to be
            self.losses[new] = self.losses[old].max()
            self.counts[new] = self.counts[old].max()
        self.losses = np.where(spoke, self.losses * _KEPT + np.where(spoke, loss, 0), self.losses)
        self.counts = np.where(spoke, self.counts * _KEPT + 1, self.counts)

    def weights(self, said: Floats) -> Floats:
        """Return the weights of those who say something now: they add up to 1."""
        speaks = ~np.isnan(said[:, 0])
        known = speaks & (self.counts > 0)
        if not known.any():
            return np.asarray(speaks / max(np.count_nonzero(speaks), 1))
        means = (self.losses + _LEAST) / np.maximum(self.counts, _LEAST)
        least = means[known].min()
        shown = np.where(known, np.exp(-SHARPNESS * (means / least - 1)), 0.0)
        return np.asarray(shown / shown.sum())


def mixed(said: Floats, weights: Floats) -> Floats:
    """Return the weighted mean of the quantiles: (K, P), (K,) to (P,)."""
    return np.asarray(weights @ np.where(weights[:, None] > 0, said, 0.0))
