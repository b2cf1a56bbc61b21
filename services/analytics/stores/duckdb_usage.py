"""The question for usage, in DuckDB's SQL."""

from __future__ import annotations

from typing import Any

from libs.common.usage import UsageGroup, UsageQuery

HOUR_MS = 3_600_000
MINUTE_MS = 60_000

# How far apart the attempts of one request may be. A request belongs to the moment of
# its first one, so attempts so far outside of the range have to be looked at, too.
SPAN_MS = HOUR_MS

# What an attempt has for a group; a request has the others as a whole.
OF_ATTEMPT = {
    UsageGroup.MODEL: "model_id",
    UsageGroup.FINETUNE: "finetune",
    UsageGroup.SOURCE: "request_source",
    UsageGroup.COLO: "colo_id",
    UsageGroup.ACCOUNT: "account_id",
}
OF_REQUEST = {
    UsageGroup.HOUR: f"(arrived_ms // {HOUR_MS}) * {HOUR_MS}",
    UsageGroup.MINUTE: f"(arrived_ms // {MINUTE_MS}) * {MINUTE_MS}",
    UsageGroup.ERROR_CODE: "error_code",
}

MEASURES = """
    count(*) AS requests,
    count(*) FILTER (error_code <> 0) AS errors,
    sum(neurons) AS neurons,
    least(sum(tokens_in), 18446744073709551615)::UBIGINT AS tokens_in,
    least(sum(tokens_out), 18446744073709551615)::UBIGINT AS tokens_out,
    quantile_cont(request_time_ms, 0.50) AS p50_ms,
    quantile_cont(request_time_ms, 0.95) AS p95_ms,
    quantile_cont(request_time_ms, 0.99) AS p99_ms,
    coalesce(quantile_cont(first_token_ms, 0.50), 0) AS first_token_p50_ms,
    coalesce(quantile_cont(first_token_ms, 0.95), 0) AS first_token_p95_ms,
    coalesce(quantile_cont(first_token_ms, 0.99), 0) AS first_token_p99_ms,
    avg(queue_us) / 1000 AS mean_queue_ms
"""

# One row per request and group that its attempts fall into. An event without a request id
# is a request of its own.
REQUESTS = """
    SELECT {keys}
        min(timestamp_ms) AS arrived_ms,
        arg_max(error_code, (attempt, timestamp_ms, sequence)) AS error_code,
        sum(neurons) AS neurons,
        sum(tokens_in) AS tokens_in,
        sum(tokens_out) AS tokens_out,
        sum(request_time_ms) AS request_time_ms,
        arg_min(time_to_first_token, attempt) FILTER (time_to_first_token > 0) AS first_token_ms,
        sum(queue_us) AS queue_us
    FROM inference_events
    WHERE {attempts}
    GROUP BY {keys} account_id, request_id,
        CASE WHEN request_id = '' THEN (server, boot_epoch, sequence) END
    HAVING {requests}
"""


def statement(query: UsageQuery, *, max_rows: int) -> tuple[str, dict[str, Any]]:
    """Return the SQL and its parameters; the columns are fields of UsageRow."""
    keys = "".join(f"{OF_ATTEMPT[group]}, " for group in query.group_by if group in OF_ATTEMPT)
    attempts, requests, parameters = _conditions(query)
    inner = REQUESTS.format(keys=keys, attempts=attempts, requests=requests)
    columns = ", ".join(f"{_of_request(group)} AS {group.column}" for group in query.group_by)
    sql = f"SELECT {columns}, {MEASURES} FROM ({inner}) GROUP BY ALL ORDER BY ALL LIMIT {max_rows}"
    return sql, parameters


def _of_request(group: UsageGroup) -> str:
    return OF_REQUEST.get(group) or OF_ATTEMPT[group]


def _conditions(query: UsageQuery) -> tuple[str, str, dict[str, Any]]:
    """Return which attempts to look at, which of their requests to keep, and the parameters."""
    attempts, requests = ["true"], ["true"]
    parameters: dict[str, Any] = {}
    for group, wanted in (
        (UsageGroup.ACCOUNT, query.account),
        (UsageGroup.MODEL, query.model),
        (UsageGroup.FINETUNE, query.finetune),
        (UsageGroup.SOURCE, query.source),
        (UsageGroup.COLO, query.colo),
    ):
        if wanted:
            attempts.append(f"{OF_ATTEMPT[group]} = ${group.column}")
            parameters[group.column] = wanted
    if query.error_code is not None:
        requests.append("error_code = $error_code")
        parameters["error_code"] = query.error_code
    if query.from_ms:
        attempts.append("timestamp_ms >= $earliest_ms")
        requests.append("arrived_ms >= $from_ms")
        parameters |= {"from_ms": query.from_ms, "earliest_ms": max(0, query.from_ms - SPAN_MS)}
    if query.to_ms:
        attempts.append("timestamp_ms < $latest_ms")
        requests.append("arrived_ms < $to_ms")
        parameters |= {"to_ms": query.to_ms, "latest_ms": query.to_ms + SPAN_MS}
    return " AND ".join(attempts), " AND ".join(requests), parameters
