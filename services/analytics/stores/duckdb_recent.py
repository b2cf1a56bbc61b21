"""The question for the last attempts, in DuckDB's SQL, and its rows as events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from libs.common.envelope import RequestSource
from libs.common.events.values import InferenceEvent
from libs.common.usage import RecentQuery, RecordedEvent

IDENTITY = ("server", "boot_epoch", "sequence")
EVENT = InferenceEvent.__struct_fields__
POSITION = "(timestamp_ms, server, boot_epoch, sequence)"
SOURCES = {source.name.lower(): source for source in RequestSource}


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


def recorded(rows: Iterable[Sequence[Any]]) -> list[RecordedEvent]:
    """Return the rows as events."""
    return [_recorded(*row) for row in rows]


def _recorded(server: str, boot_epoch: int, sequence: int, *values: Any) -> RecordedEvent:
    event = dict(zip(EVENT, values, strict=True))
    event["request_source"] = SOURCES.get(event["request_source"], 0)
    event["visited_colos"] = tuple(event["visited_colos"])
    return RecordedEvent(
        server=server,
        boot_epoch=boot_epoch,
        sequence=sequence,
        event=InferenceEvent(**event),
    )
