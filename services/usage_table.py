"""What `constellation usage` prints: a row for each group, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from libs.common.usage import UsageGroup, UsageRow
from libs.common.usage_texts import values

# Of the measures, those that fit on a line; the others are in JSON and CSV.
SHOWN: Final = (
    "requests",
    "errors",
    "error_rate",
    "neurons",
    "cost_usd",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "mean_queue_ms",
)
FORMATS: Final = {"error_rate": ".1%", "cost_usd": ".6f"}


def as_json(rows: Sequence[UsageRow], group_by: Sequence[UsageGroup]) -> str:
    """Return a list of objects."""
    objects = [values(row, group_by) for row in rows]
    return orjson.dumps(objects, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def as_table(rows: Sequence[UsageRow], group_by: Sequence[UsageGroup]) -> str:
    """Return a table with a line per row."""
    names = [group.name.lower() for group in group_by]
    told = [values(row, group_by) for row in rows]
    cells = [
        [*names, *SHOWN],
        *([*(str(each[n]) for n in names), *(_number(n, each[n]) for n in SHOWN)] for each in told),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "".join(_line(row, widths, texts=len(names)) for row in cells)


def _number(name: str, value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    return format(value, FORMATS.get(name, ".1f"))


def _line(cells: Sequence[str], widths: Sequence[int], *, texts: int) -> str:
    """Return a line: texts to the left, numbers to the right."""
    padded = [
        cell.ljust(width) if at < texts else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip() + "\n"
