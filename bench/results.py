"""Rounds to results: medians, spreads, and ratios to Envoy in the same round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.summary import Spread, ratios, spread

Row = dict[str, Any]
UNITS = {"unary": "request", "stream_coalesced": "token", "stream_paced": "token"}
SPREAD = ("cpu_us", "added_p50_us", "jitter_p99_us")  # told with the outermost rounds
MEDIAN = (
    "rps_per_core",
    "rps",
    "added_p99_us",
    "rss_mb",
    "collector_cpu_us",
    "control_cpu_us",
    "direct_p50_us",
    "direct_jitter_p99_us",
    "missed",
    "kept_pace",
    "generator_cpu_share",
    "generator_late_p99_us",
)
REFERENCE = "envoy"


def results(rows: Sequence[Row]) -> list[Row]:
    """Return one result per target and workload, in the order in which they first came."""
    pairs = dict.fromkeys((row["target"], row["workload"]) for row in rows)
    return [_result(rows, target, workload) for target, workload in pairs]


def values(rows: Iterable[Row], target: str, workload: str, field: str) -> list[float | None]:
    """Return a field round by round, None where a round lacks it."""
    found = {
        row["round"]: row.get(field)
        for row in rows
        if row["target"] == target and row["workload"] == workload
    }
    return [found.get(at) for at in range(max(found, default=-1) + 1)]


def compared(
    rows: Sequence[Row], ours: str, theirs: str, workload: str, field: str
) -> Spread | None:
    """Return the ratios of two targets, round by round."""
    return spread(
        ratios(values(rows, ours, workload, field), values(rows, theirs, workload, field))
    )


def _result(rows: Sequence[Row], target: str, workload: str) -> Row:
    result: Row = {"target": target, "workload": workload, "unit": UNITS[workload]}
    for field in SPREAD:
        found = spread(values(rows, target, workload, field))
        result |= _spelled(field, found)
    for field in MEDIAN:
        middle = spread(values(rows, target, workload, field))
        result[field] = middle.median if middle else None
    result |= _spelled("ratio_to_envoy", compared(rows, target, REFERENCE, workload, "cpu_us"))
    result["rounds"] = sum(value is not None for value in values(rows, target, workload, "cpu_us"))
    return result


def _spelled(field: str, found: Spread | None) -> Row:
    return {
        field: found.median if found else None,
        f"{field}_min": found.lowest if found else None,
        f"{field}_max": found.highest if found else None,
    }
