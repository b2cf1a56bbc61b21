"""What `constellation usage` prints: a row per model, as a table or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import orjson

from libs.common.clients.usage import UsageClient
from libs.common.usage import UsageQuery, UsageRow

COLUMNS = ("model", "requests", "errors", "neurons", "p50_ms", "p95_ms")


async def print_usage(address: str, *, as_json: bool) -> None:
    """Ask the running service, and print what it says."""
    async with UsageClient(address) as client:
        rows = await client.query(UsageQuery())
    sys.stdout.write(as_json_text(rows) if as_json else as_table(rows))


def as_json_text(rows: Sequence[UsageRow]) -> str:
    """Return a list of objects."""
    objects = [{name: getattr(row, name) for name in COLUMNS} for row in rows]
    return orjson.dumps(objects, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def as_table(rows: Sequence[UsageRow]) -> str:
    """Return a table with a line per model."""
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    return "".join(_line(row, widths) for row in cells)


def _cells(row: UsageRow) -> tuple[str, ...]:
    numbers = (row.neurons, row.p50_ms, row.p95_ms)
    return (row.model, str(row.requests), str(row.errors), *(f"{each:.1f}" for each in numbers))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *numbers = (
        cell.ljust(width) if index == 0 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *numbers]).rstrip() + "\n"
