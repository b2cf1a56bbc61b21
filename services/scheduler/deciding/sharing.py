"""Sharing: how many instances each model gets of a fleet that is too small for all.

    maximize  sum_i worth_i(n_i)   with  sum_i n_i <= places,  least_i <= n_i <= most_i

exactly, by dynamic programming over the models: a worth is not concave (half of what a model
needs may be worth nothing), so that giving away places one by one does not find it. What a model
has counts more than what it would first have to boot: further instances are worth 1 / switch of
what they would be otherwise.

Source: the multiple-choice knapsack; Kellerer, Pferschy, Pisinger, Knapsack Problems (2004).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.scheduler.deciding.minutes import Floats

SWITCH = 1.25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Share:
    """What a model asks of a fleet."""

    worth: Floats  # of 0, 1, ... instances
    least: int  # are promised
    most: int  # would do
    has: int = 0  # ready and booting


def shared(shares: Sequence[Share], places: int, *, switch: float = SWITCH) -> list[int]:
    """Return how many instances each gets; what is promised must fit."""
    if sum(share.least for share in shares) > places:
        raise ValueError(f"more instances are promised than there are places: {places}")
    best = np.zeros(places + 1)
    chosen = []
    at = np.arange(places + 1)
    for share in shares:
        values = _values(share, places, switch)
        before = at[:, None] - np.arange(len(values))[None, :]
        sums = np.where(before >= 0, best[before] + values[None, :], -np.inf)
        chosen.append(sums.argmax(axis=1))
        best = sums.max(axis=1)
    counts = []
    for choice in reversed(chosen):
        counts.append(int(choice[places]))
        places -= counts[-1]
    return counts[::-1]


def _values(share: Share, places: int, switch: float) -> Floats:
    most = min(max(share.most, share.least), places)
    reached = np.minimum(np.arange(most + 1), len(share.worth) - 1)
    values = share.worth[reached].astype(np.float64)
    has = min(share.has, most)
    values[has:] = values[has] + (values[has:] - values[has]) / switch
    values[: share.least] = -np.inf
    return values
