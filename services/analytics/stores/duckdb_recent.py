"""The question for the last attempts, in DuckDB's SQL."""

from __future__ import annotations

from typing import Any

from libs.common.usage import RecentQuery
from services.analytics.stores.recent_rows import EVENT, IDENTITY

POSITION = "(timestamp_ms, server, boot_epoch, sequence)"


def recent_statement(query: RecentQuery) -> tuple[str, dict[str, Any]]:
    """Return the SQL and its parameters; `recorded` reads the rows."""
    conditions = ["true"]
    parameters: dict[str, Any] = {}
    if query.account:
        conditions.append("account_id = $account")
        parameters["account"] = query.account
    if query.model:
        conditions.append("model_id = $model")
        parameters["model"] = query.model
    if query.before is not None:
        # the first condition follows from the second, and lets whole blocks be skipped
        conditions.append("timestamp_ms <= $timestamp_ms")
        conditions.append(f"{POSITION} < ($timestamp_ms, $server, $boot_epoch, $sequence)")
        parameters |= {
            "timestamp_ms": query.before.timestamp_ms,
            "server": query.before.server,
            "boot_epoch": query.before.boot_epoch,
            "sequence": query.before.sequence,
        }
    order = ", ".join(f"{name} DESC" for name in ("timestamp_ms", *IDENTITY))
    sql = (
        f"SELECT {', '.join((*IDENTITY, *EVENT))} FROM inference_events"
        f" WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT {query.limit}"
    )
    return sql, parameters
