"""The figures of a policy on a trace, and how it compares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from services.scheduler.simulate.families import CLAIRVOYANT, PEER_NAMES
from services.scheduler.simulate.policy import Values
from services.scheduler.simulate.service import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the table."""

    policy: str
    trace: str
    configuration: Values
    instance_hours: float
    ratio_to_clairvoyant: float | None = None
    ratio_to_best_peer: float | None = None
    late_share: float
    late_10s_share: float
    dropped: int
    longest_wait_s: int
    scale_actions: int
    instances_started: int
    decision_p99_ms: float | None = None

    def as_json(self, *, timing: bool) -> Mapping[str, Any]:
        """Return its fields, with or without what was measured."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        fields["configuration"] = dict(self.configuration)
        if not timing:
            del fields["decision_p99_ms"]
        return fields


def result_of(
    outcome: Outcome, *, policy: str, trace: str, configuration: Values, p99_ms: float | None
) -> Result:
    """Return the figures of an outcome."""
    return Result(
        policy=policy,
        trace=trace,
        configuration=configuration,
        instance_hours=outcome.instance_hours,
        late_share=outcome.late_share,
        late_10s_share=outcome.very_late_share,
        dropped=outcome.dropped,
        longest_wait_s=outcome.longest_wait_s,
        scale_actions=outcome.scale_actions,
        instances_started=outcome.instances_started,
        decision_p99_ms=p99_ms,
    )


def p99_ms(decisions_ns: Sequence[int]) -> float | None:
    """Return the time that 99 of 100 decisions did not exceed."""
    return float(np.percentile(decisions_ns, 99)) / 1e6 if len(decisions_ns) else None


def compared(results: Sequence[Result], *, slo: float, best_peer: str = "") -> list[Result]:
    """Return the results of one trace with what they cost beside the clairvoyant and a peer.

    The best peer is the cheapest one that keeps the SLO there, unless one is named.
    """
    hours = {each.policy: each.instance_hours for each in results}
    peers = [
        each.instance_hours
        for each in results
        if each.policy in PEER_NAMES
        and (each.policy == best_peer if best_peer else each.late_share <= slo)
    ]
    least, best = hours.get(CLAIRVOYANT), min(peers, default=None)
    return [
        replace(
            each,
            ratio_to_clairvoyant=_ratio(each.instance_hours, least),
            ratio_to_best_peer=_ratio(each.instance_hours, best),
        )
        for each in results
    ]


def _ratio(one: float, other: float | None) -> float | None:
    return one / other if other else None


def geometric_mean(ratios: Iterable[float | None]) -> float | None:
    """Return it, if all are there."""
    found = list(ratios)
    known = [each for each in found if each]
    if not known or len(known) < len(found):
        return None
    return math.exp(math.fsum(map(math.log, known)) / len(known))
