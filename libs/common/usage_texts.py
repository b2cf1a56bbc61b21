"""Questions for usage and their answers in text: groups, positions, rows, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

from libs.common.errors import BadInput
from libs.common.moments import rfc3339
from libs.common.usage import Position, UsageGroup, UsageRow

GROUPS: Final = {group.name.lower(): group for group in UsageGroup}
MEASURES: Final = (
    "requests",
    "errors",
    "error_rate",
    "neurons",
    "cost_usd",
    "tokens_in",
    "tokens_out",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "first_token_p50_ms",
    "first_token_p95_ms",
    "first_token_p99_ms",
    "mean_queue_ms",
)


def groups_of(text: str, *, pointer: str = "") -> tuple[UsageGroup, ...]:
    """Read the groups' names, with commas between them. Raises BadInput."""
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in GROUPS:
            where = f"{pointer.lstrip('/')}: " if pointer else ""
            known = ", ".join(GROUPS)
            raise BadInput(
                f"{where}expected one or more of {known}, got {name[:40]!r}", pointer=pointer
            )
    return tuple(GROUPS[name] for name in dict.fromkeys(names))


def position(text: str) -> Position | None:
    """Read a `before`; None is the newest. Raises BadInput."""
    try:
        return Position.parse(text) if text else None
    except ValueError as error:
        wanted = "`next` of the page before, or milliseconds since 1970"
        raise BadInput(
            f"before: expected {wanted}, got {text[:40]!r}", pointer="/before"
        ) from error


def columns(group_by: Sequence[UsageGroup]) -> tuple[str, ...]:
    """Return the names of a row's values: its groups first."""
    return (*(group.name.lower() for group in group_by), *MEASURES)


def values(row: UsageRow, group_by: Sequence[UsageGroup]) -> dict[str, Any]:
    """Return a row's values by their names."""
    groups = {group.name.lower(): _group_value(row, group) for group in group_by}
    return groups | {name: getattr(row, name) for name in MEASURES}


def as_csv(rows: Iterable[UsageRow], group_by: Sequence[UsageGroup]) -> str:
    """Return the rows as RFC 4180 has them, under a line of names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(group_by))
    writer.writeheader()
    writer.writerows(values(row, group_by) for row in rows)
    return text.getvalue()


def _group_value(row: UsageRow, group: UsageGroup) -> Any:
    value = getattr(row, group.column)
    return rfc3339(value) if group.column.endswith("_ms") else value
