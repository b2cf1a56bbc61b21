"""The roll-up of an hour in a DuckDB file: its part, how it is made, and how old data leave.

A part has all events of an hour that were there when it was made, as sums and counts by series.
It counts once it is in usage_parts. An event that comes later opens the hour again: its part no
longer counts, and another is made. Once an hour's events are removed its part is sealed, and
what comes even later makes a further part beside it. So each event is in one place at any time.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from services.analytics.stores.duckdb_words import (
    ATTEMPT,
    HOUR_MS,
    SERIES,
    SPAN_MS,
    bucket,
    is_retried,
    is_single,
)

Connection = duckdb.DuckDBPyConnection
_SERIES = ", ".join(SERIES)

# Of requests with an attempt that is not the first, in this hour and beside it.
RETRIED = """
    CREATE OR REPLACE TEMP TABLE retried AS
    SELECT DISTINCT request_id FROM inference_events
    WHERE attempt > 0 AND request_id <> ''
        AND timestamp_ms >= $from_ms AND timestamp_ms < $to_ms
    UNION
    SELECT DISTINCT request_id FROM usage_attempts
    WHERE attempt > 0 AND hour_ms >= $from_ms AND hour_ms < $to_ms
"""
EVENTS = "timestamp_ms >= $hour_ms AND timestamp_ms < $end_ms"
SINGLES = f"SELECT * FROM inference_events WHERE {EVENTS} AND {is_single('retried')}"
NEW_SERIES = f"""
    INSERT INTO usage_series
    SELECT (SELECT coalesce(max(series), 0) FROM usage_series) + row_number() OVER (), {_SERIES}
    FROM (SELECT {_SERIES} FROM ({SINGLES}) GROUP BY ALL EXCEPT SELECT {_SERIES} FROM usage_series)
"""
SUMS = f"""
    INSERT INTO usage_sums
    SELECT $part, $hour_ms, series, requests, neurons, tokens_in, tokens_out, queue_us
    FROM (
        SELECT {_SERIES}, count(*) AS requests, sum(neurons) AS neurons,
            sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out, sum(queue_us) AS queue_us
        FROM ({SINGLES}) GROUP BY {_SERIES}
    ) JOIN usage_series USING ({_SERIES})
    ORDER BY series
"""
TIMES = f"""
    INSERT INTO usage_times
    SELECT $part, $hour_ms, series, bucket, sum(timed), sum(first_tokens)
    FROM (
        SELECT {_SERIES}, {bucket("request_time_ms")} AS bucket, count(*) AS timed,
            0 AS first_tokens
        FROM ({SINGLES}) GROUP BY ALL
        UNION ALL
        SELECT {_SERIES}, {bucket("time_to_first_token")}, 0, count(*)
        FROM ({SINGLES}) WHERE time_to_first_token > 0 GROUP BY ALL
    ) JOIN usage_series USING ({_SERIES})
    GROUP BY series, bucket ORDER BY series, bucket
"""
# The same by model alone: where many accounts are added up, there are far fewer rows to read.
MODEL_TIMES = """
    INSERT INTO usage_model_times
    SELECT part, hour_ms, model_id, bucket, sum(timed), sum(first_tokens)
    FROM usage_times JOIN usage_series USING (series) WHERE part = $part
    GROUP BY ALL ORDER BY model_id, bucket
"""
ATTEMPTS = f"""
    INSERT INTO usage_attempts
    SELECT $part, $hour_ms, {", ".join(ATTEMPT)} FROM inference_events
    WHERE {EVENTS} AND {is_retried("retried")}
"""
TABLES = ("usage_sums", "usage_times", "usage_model_times", "usage_attempts")


def make_part(connection: Connection, hour_ms: int) -> int:
    """Make the part of an hour, which does not count yet; return its number."""
    hour = {"hour_ms": hour_ms, "end_ms": hour_ms + HOUR_MS}
    connection.begin()
    try:
        ((part,),) = connection.execute("SELECT nextval('usage_part_numbers')").fetchall()
        beside = {"from_ms": max(0, hour_ms - SPAN_MS), "to_ms": hour_ms + HOUR_MS + SPAN_MS}
        connection.execute(RETRIED, beside)
        connection.execute(NEW_SERIES, hour)
        for sql in (SUMS, TIMES, ATTEMPTS):
            connection.execute(sql, {**hour, "part": part})
        connection.execute(MODEL_TIMES, {"part": part})
        connection.execute("DROP TABLE retried")
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    return int(part)


def seal(connection: Connection, hour_ms: int) -> None:
    """Remove the events of an hour that has a part, which is all that is left of them."""
    _together(
        connection,
        f"UPDATE usage_parts SET sealed = true WHERE hour_ms = {hour_ms}",
        f"DELETE FROM inference_events WHERE timestamp_ms >= {hour_ms}"
        f" AND timestamp_ms < {hour_ms + HOUR_MS}",
    )


def forget_usage(connection: Connection, before_ms: int) -> bool:
    """Remove the parts of all hours that began before; whether there were any."""
    if not _count(connection, f"FROM usage_parts WHERE hour_ms < {before_ms}"):
        return False
    _together(
        connection,
        *(f"DELETE FROM {table} WHERE hour_ms < {before_ms}" for table in ("usage_parts", *TABLES)),
        "DELETE FROM usage_series WHERE series NOT IN (SELECT series FROM usage_sums)",
    )
    return True


def forget_lifecycles(connection: Connection, before_ms: int) -> bool:
    """Remove what is recorded of endpoints that had left before; whether there were any."""
    gone = f"FROM lifecycle_events WHERE end_ts > 0 AND end_ts < {before_ms}"
    if not _count(connection, gone):
        return False
    identity = "begin_ts, model_id, endpoint"
    _together(
        connection,
        f"DELETE FROM lifecycle_events WHERE ({identity}) IN (SELECT ({identity}) {gone})",
    )
    return True


def sweep(connection: Connection) -> bool:
    """Remove parts that do not count; whether there were any. None must be being made."""
    left = "WHERE part NOT IN (SELECT part FROM usage_parts)"
    tables = [table for table in TABLES if _count(connection, f"FROM {table} {left}")]
    _together(connection, *(f"DELETE FROM {table} {left}" for table in tables))
    return bool(tables)


def open_hours(connection: Connection) -> set[int]:
    """Return the hours with events that no part has."""
    return _hours(connection.execute("SELECT hour_ms FROM usage_open").fetchall())


def rolled_hours(connection: Connection) -> set[int]:
    """Return the hours whose events are there, and all in a part."""
    found = connection.execute("SELECT hour_ms FROM usage_parts WHERE NOT sealed").fetchall()
    return _hours(found)


def add_open(connection: Connection, opened: Iterable[int], reopened: Iterable[int]) -> None:
    """Say within a write that hours have events that no part has; some had a part until now."""
    for hour_ms in reopened:
        connection.execute(f"DELETE FROM usage_parts WHERE hour_ms = {hour_ms} AND NOT sealed")
    for hour_ms in opened:
        connection.execute(f"INSERT INTO usage_open VALUES ({hour_ms})")


def count_part(connection: Connection, part: int, hour_ms: int) -> None:
    """Let a part count for its hour, from now on."""
    _together(
        connection,
        f"DELETE FROM usage_open WHERE hour_ms = {hour_ms}",
        f"INSERT INTO usage_parts VALUES ({part}, {hour_ms}, false)",
    )


def _together(connection: Connection, *statements: str) -> None:
    connection.begin()
    try:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def _count(connection: Connection, what: str) -> int:
    ((count,),) = connection.execute(f"SELECT count(*) {what}").fetchall()
    return int(count)


def _hours(rows: Iterable[tuple[int]]) -> set[int]:
    return {hour_ms for (hour_ms,) in rows}
