"""The question for the last attempts, in ClickHouse's SQL.

It is asked of a short time first, and of longer ones while that has too few:
the last attempts of one who asks often are in the last hour's rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from libs.common.usage import RecentQuery
from services.analytics.stores.clickhouse_hours import DAY_MS, END_MS, HOUR_MS, floor_hour
from services.analytics.stores.recent_rows import EVENT, IDENTITY

LATEST = "SELECT max(timestamp_ms) FROM inference_events"


def windows(latest_ms: int) -> Iterator[int]:
    """Yield from when to look, ever earlier."""
    for before_ms in (HOUR_MS, DAY_MS, 30 * DAY_MS):
        if before_ms < latest_ms:
            yield floor_hour(latest_ms - before_ms)
    yield 0


def recent_statement(query: RecentQuery, *, from_ms: int) -> tuple[str, dict[str, Any]]:
    """Return the SQL and its parameters; the columns are those that `recorded` reads."""
    conditions = [f"timestamp_ms >= {from_ms} AND hour_ms >= {from_ms}"]
    parameters: dict[str, Any] = {}
    if query.account:
        conditions.append("account_id = {account:String}")
        parameters["account"] = query.account
    if query.model:
        conditions.append("model_id = {model:String}")
        parameters["model"] = query.model
    if query.before is not None:
        at = query.before
        last = min(at.timestamp_ms, END_MS)
        conditions.append(f"timestamp_ms <= {last} AND hour_ms <= {last}")
        conditions.append(
            f"(timestamp_ms, server, boot_epoch, sequence) <"
            f" ({last}, {{server:String}}, {at.boot_epoch}, {at.sequence})"
        )
        parameters["server"] = at.server
    order = ", ".join(f"{name} DESC" for name in ("timestamp_ms", *IDENTITY))
    sql = (
        f"SELECT {', '.join((*IDENTITY, *EVENT))} FROM inference_events FINAL"
        f" WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT {query.limit}"
    )
    return sql, parameters
