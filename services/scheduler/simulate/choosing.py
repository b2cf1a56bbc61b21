"""One configuration for each policy: chosen on some traces, to be shown on others.

The cheapest one, by the geometric mean of the instance-hours, of those that keep the SLO on every
trace. Where none does: that which breaks it on the fewest, and of several the one whose worst trace
is best.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from services.scheduler.simulate.families import CLAIRVOYANT, FAMILIES, PEER_NAMES
from services.scheduler.simulate.policy import Values
from services.scheduler.simulate.results import Result


class Score(NamedTuple):
    """What is least for the best configuration."""

    broken: int  # traces on which the SLO was broken
    worst_late_share: float  # of these
    cost: float  # sum of the logarithms of instance-hours


class Choice(NamedTuple):
    """A configuration, and how it did where it was chosen."""

    score: Score
    configuration: Values


def candidates(policies: Iterable[str]) -> list[tuple[str, Values]]:
    """Return all configurations of these policies; the clairvoyant has none."""
    return [
        (name, values)
        for name in policies
        if name != CLAIRVOYANT
        for values in FAMILIES[name].configurations
    ]


def chosen(results: Iterable[Result], *, slo: float) -> dict[str, Choice]:
    """Return a configuration for each policy, from its results with all of them."""
    tried: dict[str, dict[tuple[tuple[str, float], ...], list[Result]]] = {}
    for each in results:
        values = tuple(sorted(each.configuration.items()))
        tried.setdefault(each.policy, {}).setdefault(values, []).append(each)
    return {
        policy: min(
            (Choice(score(found, slo=slo), dict(values)) for values, found in of.items()),
            key=lambda choice: choice.score,
        )
        for policy, of in tried.items()
    }


def score(results: Sequence[Result], *, slo: float) -> Score:
    """Judge a configuration by its results on several traces."""
    late = [each.late_share for each in results if each.late_share > slo]
    cost = math.fsum(math.log(max(each.instance_hours, 1e-9)) for each in results)
    return Score(len(late), max(late, default=0.0), cost)


def best_peer(choices: Mapping[str, Choice], shown: Sequence[Result], *, slo: float) -> str:
    """Return the peer that is cheapest where it is shown, of those that kept the SLO before."""

    def rank(name: str) -> tuple[int, float]:
        mine = [each for each in shown if each.policy == name]
        return choices[name].score.broken, score(mine, slo=slo).cost

    return min((name for name in choices if name in PEER_NAMES), key=rank, default="")
