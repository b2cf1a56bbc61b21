"""Tables for people: medians, the spread over the rounds, and the ratio to Envoy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.processes import Failure
from bench.results import UNITS, Row

HEADS = {
    "unary": ("us/request", "x Envoy", "requests/s/core", "added p50 us", "added p99 us", "RSS MB"),
    "stream_coalesced": ("us/token", "x Envoy", "tokens/s/core", "RSS MB"),
    "stream_paced": ("us/token", "x Envoy", "tokens/s/core", "jitter p99 us", "RSS MB"),
}
MIDDLE = {
    "unary": ("rps_per_core", "added_p50_us", "added_p99_us"),
    "stream_coalesced": ("rps_per_core",),
    "stream_paced": ("rps_per_core", "jitter_p99_us"),
}
WITH_SPREAD = ("added_p50_us", "jitter_p99_us")
LATE_US = 20_000.0
KEPT = 0.97  # share of a paced stream's tokens


def say(text: str = "") -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under heads: the first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in rest)]).rstrip()

    return "\n".join([line(heads), line(["-" * width for width in widths]), *map(line, rows)])


def number(value: float | None) -> str:
    """Return three figures of a number, `-` where there is none."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def with_spread(row: Row, field: str) -> str:
    """Return a number with the outermost of its rounds, where those differ."""
    low, high = number(row.get(f"{field}_min")), number(row.get(f"{field}_max"))
    middle = number(row.get(field))
    return middle if low == high else f"{middle} [{low} .. {high}]"


def workload_table(workload: str, found: Sequence[Row]) -> str:
    """Return the table of one workload, the cheapest first."""
    rows = sorted((row for row in found if row["workload"] == workload), key=_cost)
    cells = [
        [
            row["target"],
            with_spread(row, "cpu_us"),
            with_spread(row, "ratio_to_envoy"),
            *(
                with_spread(row, field) if field in WITH_SPREAD else number(row[field])
                for field in MIDDLE[workload]
            ),
            number(row["rss_mb"]),
        ]
        for row in rows
    ]
    title = f"{workload}: CPU of all of the gateway's processes per {UNITS[workload]}"
    return f"{title}\n\n{table(('target', *HEADS[workload]), cells)}"


def verdict_table(told: Sequence[dict[str, Any]]) -> str:
    """Return the bars, with what was measured against them."""
    rows = [
        [
            each["what"],
            with_spread(each, "ratio"),
            number(each["must"]),
            number(each["aim"]),
            each["verdict"],
        ]
        for each in told
    ]
    return table(("bar", "ratio", "must", "aim", "verdict"), rows)


def told(make_rows: Callable[[], list[Row]], file: Path | None) -> int:
    """Make rows, print them and write them down; return the command's exit code."""
    try:
        rows = make_rows()
    except Failure as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    say(plain_table(rows))
    if file:
        file.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    return 0


def plain_table(rows: Sequence[Row]) -> str:
    """Return rows of one shape as they are, their names as heads."""
    if not rows:
        return "nothing was measured"
    heads = list(rows[0])
    cells = [[_cell(row.get(name)) for name in heads] for row in rows]
    return table(heads, cells)


def warnings(found: Sequence[Row]) -> list[str]:
    """Return what makes a number doubtful."""
    told = []
    for row in found:
        where = f"{row['target']}, {row['workload']}"
        late = row.get("generator_late_p99_us") or 0
        if row["workload"] == "stream_paced" and late > LATE_US:
            told.append(f"{where}: the load's timers came {number(late)} us late: doubtful times")
        if (row.get("kept_pace") or 1) < KEPT:
            told.append(f"{where}: only {row['kept_pace']:.0%} of the tokens came in their time")
        if row.get("missed"):
            told.append(f"{where}: {row['missed']:g} requests found no free connection")
    return told


def _cost(row: Row) -> float:
    return float(row["cpu_us"] or 0)


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, int | float) or value is None else str(value)
