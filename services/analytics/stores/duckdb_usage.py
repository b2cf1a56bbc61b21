"""The question for usage, in DuckDB's SQL: over roll-ups, and over events that have none."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

import duckdb
import numpy as np
import numpy.typing as npt

from libs.common.usage import UsageGroup, UsageQuery, UsageRow
from services.analytics.stores.duckdb_words import (
    ATTEMPT,
    BUCKETS,
    HOUR_MS,
    LEAST,
    MINUTE_MS,
    PER_DOUBLING,
    SPAN_MS,
    bucket,
    in_hours,
    is_retried,
    is_single,
)

Ints: TypeAlias = npt.NDArray[np.integer[Any]]
Floats: TypeAlias = npt.NDArray[np.float64]

# What an attempt has for a group; a request has the others as a whole.
OF_ATTEMPT = {
    UsageGroup.MODEL: "model_id",
    UsageGroup.FINETUNE: "finetune",
    UsageGroup.SOURCE: "request_source",
    UsageGroup.COLO: "colo_id",
    UsageGroup.ACCOUNT: "account_id",
}
OF_REQUEST = {
    UsageGroup.HOUR: f"(arrived_ms // {HOUR_MS} * {HOUR_MS})::UBIGINT",
    UsageGroup.MINUTE: f"(arrived_ms // {MINUTE_MS} * {MINUTE_MS})::UBIGINT",
    UsageGroup.ERROR_CODE: "error_code",
}

MODEL_TIMES = "usage_model_times"
BY_MODEL = frozenset((UsageGroup.MODEL, UsageGroup.HOUR, UsageGroup.MINUTE))

# Each statement makes what the next ones ask. Attempts are those of hours that are looked at event
# by event, and those that roll-ups have of requests with several.
RETRIED = """
    CREATE OR REPLACE TEMP TABLE retried AS
    SELECT DISTINCT request_id
    FROM (
        SELECT request_id, attempt FROM inference_events WHERE {raw}
        UNION ALL SELECT request_id, attempt FROM usage_attempts WHERE {beside_raw}
    )
    WHERE attempt > 0 AND request_id <> ''
"""
# One row per request and group that its attempts fall into.
SEVERAL = """
    CREATE OR REPLACE TEMP TABLE several AS
    SELECT * FROM (
        SELECT {keys}
            min(timestamp_ms) AS arrived_ms,
            arg_max(error_code, (attempt, timestamp_ms, sequence)) AS error_code,
            sum(neurons) AS neurons,
            sum(tokens_in) AS tokens_in,
            sum(tokens_out) AS tokens_out,
            sum(request_time_ms) AS request_time_ms,
            coalesce(arg_min(time_to_first_token, attempt) FILTER (time_to_first_token > 0), 0)
                AS time_to_first_token,
            sum(queue_us) AS queue_us
        FROM (
            SELECT {attempt} FROM inference_events WHERE {raw} AND {is_retried}
            UNION ALL SELECT {attempt} FROM usage_attempts WHERE part IN ({attempt_parts})
        )
        WHERE {attempts}
        GROUP BY {keys} account_id, request_id
    )
    WHERE {requests}
"""
SINGLES = """(
    SELECT {attempt}, timestamp_ms AS arrived_ms FROM inference_events
    WHERE {raw} AND {is_single} AND {attempts} AND {requests}
)"""
SUMMED = """
    CREATE OR REPLACE TEMP TABLE summed AS
    SELECT {columns}, sum(requests)::UBIGINT AS requests,
        coalesce(sum(errors), 0)::UBIGINT AS errors, sum(neurons) AS neurons,
        least(sum(tokens_in), 18446744073709551615)::UBIGINT AS tokens_in,
        least(sum(tokens_out), 18446744073709551615)::UBIGINT AS tokens_out,
        sum(queue_us) / sum(requests) / 1000 AS mean_queue_ms,
        row_number() OVER (ORDER BY {columns}) - 1 AS number
    FROM (
        {sums_of_singles} {sums_of_several}
        UNION ALL
        SELECT {of_part}, sum(requests), sum(requests) FILTER (error_code <> 0), sum(neurons),
            sum(tokens_in), sum(tokens_out), sum(queue_us)
        FROM usage_sums JOIN usage_series USING (series)
        WHERE part IN ({parts}) AND {attempts} AND {of_series} GROUP BY ALL
    )
    GROUP BY {columns}
"""
SUMS = """
        SELECT {of_request}, count(*) AS requests, count(*) FILTER (error_code <> 0) AS errors,
            sum(neurons) AS neurons, sum(tokens_in)::HUGEINT AS tokens_in,
            sum(tokens_out)::HUGEINT AS tokens_out, sum(queue_us)::HUGEINT AS queue_us
        FROM {source} GROUP BY ALL
"""
# Counts of one bucket may come in several rows. Where hours are told apart that were rolled up by
# model there are few of those, and to add them up would take longer than all the rest.
ADDED_UP = {
    "counts": "sum(timed)::BIGINT AS timed, sum(first_tokens)::BIGINT AS first_tokens",
    "added_up": "GROUP BY ALL",
}
AS_THEY_ARE = {
    "counts": "timed::BIGINT AS timed, first_tokens::BIGINT AS first_tokens",
    "added_up": "",
}
ROWS = "SELECT * EXCLUDE number FROM summed WHERE number < {max_rows} ORDER BY number"
# A place is a row's number and a bucket in one.
COUNTED = f"""
    SELECT number * {BUCKETS} + bucket - {LEAST} AS place, timed, first_tokens
    FROM (
        SELECT {{columns}}, bucket::INTEGER AS bucket, {{counts}}
        FROM (
            {{counts_of_singles}} {{counts_of_several}}
            UNION ALL
            SELECT {{of_part}}, bucket, timed, first_tokens FROM {{times}}
            WHERE part IN ({{parts}}) AND {{attempts}} AND {{of_series}}
        )
        {{added_up}}
    ) JOIN summed USING ({{columns}})
    WHERE number < {{max_rows}}
"""
COUNTS = f"""
            SELECT {{of_request}}, {bucket("request_time_ms")} AS bucket,
                count(*)::UBIGINT AS timed, 0::UBIGINT AS first_tokens
            FROM {{source}} GROUP BY ALL
            UNION ALL
            SELECT {{of_request}}, {bucket("time_to_first_token")}, 0::UBIGINT, count(*)::UBIGINT
            FROM {{source}} WHERE time_to_first_token > 0 GROUP BY ALL
"""
PERCENTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}


@dataclass(frozen=True, slots=True)
class Hours:
    """Which hours have events that are in no part, and which have all of them in one."""

    open: Collection[int]
    rolled: Collection[int]


def usage_rows(
    connection: duckdb.DuckDBPyConnection, query: UsageQuery, hours: Hours, *, max_rows: int
) -> list[UsageRow]:
    """Answer the question. The hours have to be those of the connection's transaction."""
    words, parameters = _words(query, hours) | {"max_rows": str(max_rows)}, _parameters(query)

    def ask(sql: str) -> duckdb.DuckDBPyConnection:
        return connection.execute(sql.format(**words), parameters if "{attempts}" in sql else {})

    ask(RETRIED)
    ask(SEVERAL)
    ask(SUMMED)
    found = ask(ROWS)
    names = [column[0] for column in found.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    counts = _in_order(ask(COUNTED).fetchnumpy())
    times = {
        prefix + name: values
        for prefix, count in (("", "timed"), ("first_token_", "first_tokens"))
        for name, values in percentiles(counts["place"], counts[count], len(rows)).items()
    }
    of_rows = np.column_stack(list(times.values())).tolist()
    return [
        UsageRow(**row, **dict(zip(times, each, strict=True)))
        for row, each in zip(rows, of_rows, strict=True)
    ]


def percentiles(places: Ints, counts: Ints, rows: int) -> dict[str, Floats]:
    """Return each percentile for each row: the middle of the first bucket that reaches it.

    Places are in order; one may come several times. 0 where nothing is counted.
    """
    reached = np.cumsum(counts, dtype=np.int64)
    ends = np.append(0, reached)[np.searchsorted(places, np.arange(rows + 1) * BUCKETS)]
    before, totals = ends[:-1], np.diff(ends)
    found = {}
    for name, share in PERCENTILES.items():
        wanted = before + np.ceil(share * totals).astype(np.int64)
        at = np.minimum(np.searchsorted(reached, wanted), max(0, len(reached) - 1))
        buckets = places[at] % BUCKETS + LEAST if len(places) else np.zeros(rows)
        middles = np.exp2((buckets + 0.5) / PER_DOUBLING)
        found[name] = np.where(totals > 0, middles, 0.0)
    return found


def _in_order(counts: dict[str, Ints]) -> dict[str, Ints]:
    """Sort by place, which numpy does in a fraction of DuckDB's time."""
    order = np.argsort(counts["place"], kind="stable")  # faster, as they come in long runs
    return {name: column[order] for name, column in counts.items()}


def _words(query: UsageQuery, hours: Hours) -> dict[str, str]:
    """Return what the statements have for their names in braces."""
    raw = _raw_hours(query, hours)
    times = _times_table(query)
    is_fine = times == MODEL_TIMES and {UsageGroup.MODEL, UsageGroup.HOUR} <= {*query.group_by}
    of_code = "true" if query.error_code is None else f"error_code = {query.error_code}"
    words = {
        "attempt": ", ".join(ATTEMPT),
        "raw": in_hours(raw),
        "parts": _parts(query, raw),
        "attempt_parts": _attempt_parts(query, raw),
        "beside_raw": _beside(raw),
        "is_retried": is_retried("retried"),
        "is_single": is_single("retried"),
        "attempts": _attempts(query),
        "requests": f"{_range(query)} AND {of_code}",
        "of_series": of_code,
        "times": times,
        **(AS_THEY_ARE if is_fine else ADDED_UP),
        "keys": "".join(f"{OF_ATTEMPT[each]}, " for each in query.group_by if each in OF_ATTEMPT),
        "columns": ", ".join(group.column for group in query.group_by),
        "of_request": _columns(query, _of_request),
        "of_part": _columns(query, _of_part),
    }
    for kind, statement in (("sums", SUMS), ("counts", COUNTS)):
        of_singles = f"{statement.format(**words, source=SINGLES.format(**words))} UNION ALL"
        words[f"{kind}_of_singles"] = of_singles if raw else ""  # to plan it takes its time, too
        words[f"{kind}_of_several"] = statement.format(**words, source="several")
    return words


def _raw_hours(query: UsageQuery, hours: Hours) -> list[int]:
    """Return the hours whose events are looked at one by one."""
    earliest, latest = max(0, query.from_ms - SPAN_MS), query.to_ms + SPAN_MS
    found = [
        hour
        for hour in hours.open
        if hour + HOUR_MS > earliest and (not query.to_ms or hour < latest)
    ]
    by_minute = UsageGroup.MINUTE in query.group_by
    found += [hour for hour in hours.rolled if _is_partly_in(hour, query, by_minute=by_minute)]
    return found


def _is_partly_in(hour: int, query: UsageQuery, *, by_minute: bool) -> bool:
    """Whether a roll-up of the hour would not do: some is outside, or minutes are asked for."""
    begins, ends = hour >= query.from_ms, not query.to_ms or hour + HOUR_MS <= query.to_ms
    overlaps = hour + HOUR_MS > query.from_ms and (not query.to_ms or hour < query.to_ms)
    return overlaps and (by_minute or not (begins and ends))


def _parts(query: UsageQuery, raw: Collection[int]) -> str:
    """Return the parts that answer."""
    return f"SELECT part FROM usage_parts WHERE {_part_range(query, 0)} AND {_not_raw(raw)}"


def _attempt_parts(query: UsageQuery, raw: Collection[int]) -> str:
    """Return the parts with attempts of requests that may be in the range."""
    return f"SELECT part FROM usage_parts WHERE {_part_range(query, SPAN_MS)} AND {_not_raw(raw)}"


def _beside(raw: Collection[int]) -> str:
    """Return the condition of what roll-ups have of requests with attempts in these hours, too."""
    hours = sorted({hour + step for hour in raw for step in (-SPAN_MS, 0, SPAN_MS)})
    return f"hour_ms IN ({', '.join(map(str, hours))})" if hours else "false"


def _part_range(query: UsageQuery, more_ms: int) -> str:
    until = f"hour_ms < {query.to_ms + more_ms}" if query.to_ms else "true"
    return f"hour_ms >= {max(0, query.from_ms - more_ms - HOUR_MS * bool(more_ms))} AND {until}"


def _not_raw(raw: Collection[int]) -> str:
    """Return the condition of parts whose events are not looked at, or are gone."""
    return f"(sealed OR hour_ms NOT IN ({', '.join(map(str, raw))}))" if raw else "true"


def _of_request(group: UsageGroup) -> str:
    return OF_REQUEST.get(group) or OF_ATTEMPT[group]


def _of_part(group: UsageGroup) -> str:
    in_time = group in (UsageGroup.HOUR, UsageGroup.MINUTE)
    return "hour_ms" if in_time else _of_request(group)


def _range(query: UsageQuery) -> str:
    until = f" AND arrived_ms < {query.to_ms}" if query.to_ms else ""
    return f"arrived_ms >= {query.from_ms}{until}"


def _times_table(query: UsageQuery) -> str:
    """Return where counts of rolled up times are read: by model alone, if that tells enough."""
    others = {query.account, query.finetune, query.source, query.colo} != {""}
    if query.error_code is None and not others and BY_MODEL.issuperset(query.group_by):
        return MODEL_TIMES
    return "usage_times JOIN usage_series USING (series)"


def _columns(query: UsageQuery, of: Callable[[UsageGroup], str]) -> str:
    return ", ".join(f"{of(group)} AS {group.column}" for group in query.group_by)


def _parameters(query: UsageQuery) -> dict[str, str]:
    """Return the names that attempts have to have, by parameter."""
    wanted = {
        UsageGroup.ACCOUNT: query.account,
        UsageGroup.MODEL: query.model,
        UsageGroup.FINETUNE: query.finetune,
        UsageGroup.SOURCE: query.source,
        UsageGroup.COLO: query.colo,
    }
    return {group.column: name for group, name in wanted.items() if name}


def _attempts(query: UsageQuery) -> str:
    """Return the condition of attempts."""
    columns = {group.column: column for group, column in OF_ATTEMPT.items()}
    conditions = [f"{columns[name]} = ${name}" for name in _parameters(query)]
    return " AND ".join(conditions) or "true"
