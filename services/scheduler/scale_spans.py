"""Decisions as spans of OpenTelemetry, for a collector that is told of them."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from libs.common.explanation import ScaleSnapshot
from libs.common.spans import Attribute, Span, alone
from libs.common.world_map import Decision

NAME = "autoscaler.scaleVersion"


def span_of(
    decision: Decision,
    *,
    before: Decision | None,
    tier: str,
    snapshots: Iterable[ScaleSnapshot],
    ended_ms: int,
) -> Span:
    """Return a decision as a span: what there was, what there should be, and the last moments."""
    attributes: dict[str, Attribute] = {
        "model": decision.model,
        "tier": tier,
        "region": decision.region,
        "old_replica_count": before.placed if before is not None else decision.running,
        "new_replica_count": decision.placed,
        "required": decision.required,
        "desired": decision.desired,
        "min": decision.min,
        "max": decision.max,
        "demand": decision.demand,
        "forecast": decision.forecast,
        "price": decision.price,
        "cause": decision.cause,
        "reason": decision.reason,
        "snapshots": _written(snapshots),
    }
    return alone(
        NAME,
        began_ms=decision.at_ms,
        ended_ms=max(ended_ms, decision.at_ms),
        attributes=attributes,
    )


def _written(snapshots: Iterable[ScaleSnapshot]) -> str:
    return orjson.dumps(
        [
            {
                "time": each.at_ms / 1000,
                "queue_length": each.queue_length,
                "replica_count": each.replica_count,
            }
            for each in snapshots
        ]
    ).decode()
