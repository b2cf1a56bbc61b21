"""The question for usage, in ClickHouse's SQL.

It has up to three sources, whose sums and states add up: `usage_hourly`, what whole requests
came to in hours that are rolled up; `usage_attempts`, the attempts of the other requests in those
hours; and for all other hours the events, of which FINAL shows each once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from libs.common.usage import UsageGroup, UsageQuery
from services.analytics.stores.clickhouse_hours import END_MS, HOUR_MS, SPAN_MS, Range, Sources
from services.analytics.stores.clickhouse_schema import QUANTILES

Parameters: TypeAlias = dict[str, Any]

MINUTE_MS = 60_000

# What an attempt has for a group; a request has the others as a whole.
OF_ATTEMPT = {
    UsageGroup.MODEL: "model_id",
    UsageGroup.FINETUNE: "finetune",
    UsageGroup.SOURCE: "request_source",
    UsageGroup.COLO: "colo_id",
    UsageGroup.ACCOUNT: "account_id",
}
OF_REQUEST = {
    UsageGroup.HOUR: f"intDiv(arrived_ms, {HOUR_MS}) * {HOUR_MS}",
    UsageGroup.MINUTE: f"intDiv(arrived_ms, {MINUTE_MS}) * {MINUTE_MS}",
    UsageGroup.ERROR_CODE: "last_error",
}
OF_HOUR = {
    UsageGroup.HOUR: "hour_ms",
    UsageGroup.MINUTE: "hour_ms",
    UsageGroup.ERROR_CODE: "error_code",
}

# What makes a request one, where it has no id. One expression per column: a tuple costs more.
UNNAMED = (
    "if(request_id = '', server, ''), if(request_id = '', boot_epoch, 0),"
    " if(request_id = '', sequence, 0)"
)
OF_ALL_ATTEMPTS = """
        min(timestamp_ms) AS arrived_ms,
        argMax(error_code, (attempt, timestamp_ms, sequence)) AS last_error,
        sum(neurons) AS all_neurons,
        sum(toUInt128(tokens_in)) AS all_tokens_in,
        sum(toUInt128(tokens_out)) AS all_tokens_out,
        sum(toUInt128(queue_us)) AS all_queue_us,
        sum(request_time_ms) AS all_ms,
        argMinIf(time_to_first_token, attempt, time_to_first_token > 0) AS first_token_ms"""

PARTS_OF_REQUESTS = f"""
    count() AS n, countIf(last_error != 0) AS failed, sum(all_neurons) AS used,
    sum(all_tokens_in) AS came, sum(all_tokens_out) AS went, sum(all_queue_us) AS waited,
    {QUANTILES.replace("(", "State(", 1)}(all_ms) AS times,
    {QUANTILES.replace("(", "StateIf(", 1)}(first_token_ms, first_token_ms > 0) AS firsts"""

PARTS_OF_HOURS = f"""
    sum(requests) AS n, sumIf(requests, error_code != 0) AS failed, sum(neurons) AS used,
    sum(tokens_in) AS came, sum(tokens_out) AS went, sum(queue_us) AS waited,
    {QUANTILES.replace("(", "MergeState(", 1)}(request_times) AS times,
    {QUANTILES.replace("(", "MergeState(", 1)}(first_tokens) AS firsts"""

MEASURES = f"""
    sum(n) AS requests,
    sum(failed) AS errors,
    sum(used) AS neurons,
    toUInt64(least(sum(came), {END_MS})) AS tokens_in,
    toUInt64(least(sum(went), {END_MS})) AS tokens_out,
    {QUANTILES.replace("(", "Merge(", 1)}(times) AS request_ms,
    {QUANTILES.replace("(", "Merge(", 1)}(firsts) AS first_token_ms,
    sum(waited) / sum(n) / 1000 AS mean_queue_ms"""


def statement(query: UsageQuery, *, sources: Sources, max_rows: int) -> tuple[str, Parameters]:
    """Return the SQL and its parameters; the columns are those that `read_row` reads."""
    of_attempts, parameters = _attempts(query)
    parts = list(_parts(query, sources, of_attempts))
    union = "\n  UNION ALL\n".join(parts)
    columns = ", ".join(f"g{at} AS {group.column}" for at, group in enumerate(query.group_by))
    keys = ", ".join(f"g{at}" for at in range(len(query.group_by)))
    sql = (
        f"SELECT {columns}, {MEASURES}\nFROM (\n{union}\n)"
        f"\nGROUP BY {keys} HAVING sum(n) > 0 ORDER BY {keys} LIMIT {max_rows}"
    )
    return sql, parameters


def fields_of(names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """Return a row of the answer as the fields of a UsageRow."""
    found = dict(zip(names, row, strict=True))
    for name, prefix in (("request_ms", ""), ("first_token_ms", "first_token_")):
        values = found.pop(name)
        for percent, value in zip((50, 95, 99), values, strict=True):
            found[f"{prefix}p{percent}_ms"] = 0.0 if value != value else value  # NaN: of nothing
    return found


def _parts(query: UsageQuery, sources: Sources, of_attempts: str) -> Iterator[str]:
    if sources.rolled:
        yield _of_hours(query, sources.rolled, of_attempts)
        yield _of_split_requests(query, sources.rolled, of_attempts)
    if sources.raw or not sources.rolled:
        yield _of_events(query, sources.raw or ((0, 0),), of_attempts)


def _of_hours(query: UsageQuery, hours: Sequence[Range], of_attempts: str) -> str:
    groups = _groups(query, {**OF_ATTEMPT, **OF_HOUR})
    ended = "" if query.error_code is None else f" AND error_code = {query.error_code}"
    return (
        f"  SELECT {groups}, {PARTS_OF_HOURS}\n  FROM usage_hourly"
        f"\n  WHERE {_newest(hours)} AND {of_attempts}{ended}\n  GROUP BY {_keys(query)}"
    )


def _of_split_requests(query: UsageQuery, hours: Sequence[Range], of_attempts: str) -> str:
    requests = (
        f"    SELECT hour_ms, {_dimensions(query)} account_id, request_id, {OF_ALL_ATTEMPTS}"
        f"\n    FROM usage_attempts WHERE {_newest(hours)} AND {of_attempts}"
        f"\n    GROUP BY hour_ms, {_dimensions(query)} account_id, request_id"
        f"\n    HAVING intDiv(arrived_ms, {HOUR_MS}) * {HOUR_MS} = hour_ms"
    )
    # In hours that are whole the moment decides; else the hour's beginning does, as for the others.
    return _of_requests(query, requests, _groups(query, {**OF_ATTEMPT, **OF_REQUEST, **_MINUTES}))


def _of_events(query: UsageQuery, ranges: Sequence[Range], of_attempts: str) -> str:
    around = " OR ".join(map(near, ranges))
    arrived = " OR ".join(
        f"arrived_ms >= {first}" + (f" AND arrived_ms < {last}" if last < END_MS else "")
        for first, last in ranges
    )
    requests = (
        f"    SELECT {_dimensions(query)} account_id, request_id, {OF_ALL_ATTEMPTS}"
        f"\n    FROM inference_events FINAL WHERE ({around}) AND {of_attempts}"
        f"\n    GROUP BY {_dimensions(query)} account_id, request_id, {UNNAMED}"
        f"\n    HAVING {arrived}"
    )
    return _of_requests(query, requests, _groups(query, {**OF_ATTEMPT, **OF_REQUEST}))


def _of_requests(query: UsageQuery, requests: str, groups: str) -> str:
    ended = "" if query.error_code is None else f"\n  WHERE last_error = {query.error_code}"
    return (
        f"  SELECT {groups}, {PARTS_OF_REQUESTS}\n  FROM (\n{requests}\n  ){ended}"
        f"\n  GROUP BY {_keys(query)}"
    )


def near(each: Range) -> str:
    """Return where the attempts of requests that arrived in a range are.

    Both columns tell it: days are left out by the one, and parts of them by the other.
    """
    first, last = max(0, each[0] - SPAN_MS), each[1] + SPAN_MS
    after = f"timestamp_ms >= {first} AND hour_ms >= {first - first % HOUR_MS}"
    return after + (f" AND timestamp_ms < {last} AND hour_ms < {last}" if last <= END_MS else "")


def _newest(hours: Sequence[Range]) -> str:
    """Return the condition for the newest whole generation of these hours."""
    of_hours = " OR ".join(f"hour_ms >= {first} AND hour_ms < {last}" for first, last in hours)
    return (
        f"({of_hours}) AND (hour_ms, generation) IN ("
        f"SELECT hour_ms, max(generation) FROM usage_hours WHERE {of_hours} GROUP BY hour_ms)"
    )


def _groups(query: UsageQuery, expressions: dict[UsageGroup, str]) -> str:
    return ", ".join(f"{expressions[group]} AS g{at}" for at, group in enumerate(query.group_by))


def _keys(query: UsageQuery) -> str:
    return ", ".join(f"g{at}" for at in range(len(query.group_by)))


def _dimensions(query: UsageQuery) -> str:
    """Return what tells the parts of one request from another in this question."""
    found = (OF_ATTEMPT[group] for group in query.group_by if group in OF_ATTEMPT)
    return "".join(f"{each}, " for each in found if each != "account_id")


def _attempts(query: UsageQuery) -> tuple[str, Parameters]:
    """Return which attempts count, and the parameters."""
    wanted = {
        UsageGroup.ACCOUNT: query.account,
        UsageGroup.MODEL: query.model,
        UsageGroup.FINETUNE: query.finetune,
        UsageGroup.SOURCE: query.source,
        UsageGroup.COLO: query.colo,
    }
    given = {group: value for group, value in wanted.items() if value}
    conditions = [f"{OF_ATTEMPT[group]} = {{{group.column}:String}}" for group in given]
    parameters: Parameters = {group.column: value for group, value in given.items()}
    return " AND ".join(conditions) or "true", parameters


# By the minute, too, a request that only the roll-up knows is in the first one of its hour.
_MINUTES = {UsageGroup.MINUTE: f"intDiv(arrived_ms, {HOUR_MS}) * {HOUR_MS}"}
