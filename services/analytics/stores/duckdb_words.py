"""What the question for usage and the roll-up of an hour have in common, in DuckDB's SQL.

Times are counted by buckets that grow by a sixteenth of a doubling, so that counts of hours add
up: a percentile is the middle of its bucket, at most 2.2 % off. Most requests have one attempt,
and are added up as they are; those with several are first put together.
"""

from __future__ import annotations

from collections.abc import Iterable

HOUR_MS = 3_600_000
MINUTE_MS = 60_000

# How far apart the attempts of one request may be. A request belongs to the moment of
# its first one, so attempts so far outside of a range have to be looked at, too.
SPAN_MS = HOUR_MS

PER_DOUBLING = 16
LEAST, MOST = -10 * PER_DOUBLING, 31 * PER_DOUBLING  # from a microsecond to 24 days, in ms
BUCKETS = MOST - LEAST + 1

HOUR = f"(timestamp_ms // {HOUR_MS} * {HOUR_MS})"

# The dimensions of a roll-up, as the columns of events are called.
SERIES = ("account_id", "model_id", "finetune", "request_source", "error_code", "colo_id")

# What is known of the attempts of requests that have several, after their events are gone.
ATTEMPT = (
    "account_id",
    "model_id",
    "finetune",
    "request_source",
    "colo_id",
    "request_id",
    "attempt",
    "timestamp_ms",
    "sequence",
    "error_code",
    "neurons",
    "tokens_in",
    "tokens_out",
    "request_time_ms",
    "time_to_first_token",
    "queue_us",
)


def bucket(milliseconds: str) -> str:
    """Return the bucket of a time; what is no number is in the last one."""
    return (
        f"CASE WHEN {milliseconds} >= {2.0 ** (MOST / PER_DOUBLING)} THEN {MOST}"
        f" WHEN {milliseconds} <= {2.0 ** (LEAST / PER_DOUBLING)} THEN {LEAST}"
        f" ELSE floor({PER_DOUBLING} * log2({milliseconds})) END::SMALLINT"
    )


def in_hours(hours: Iterable[int]) -> str:
    """Return the condition of events in some hours; its bounds let whole blocks be skipped."""
    known = sorted(hours)
    if not known:
        return "false"
    return (
        f"timestamp_ms >= {known[0]} AND timestamp_ms < {known[-1] + HOUR_MS}"
        f" AND {HOUR} IN ({', '.join(map(str, known))})"
    )


def is_retried(retried: str) -> str:
    """Return the condition of attempts whose request has another, by the ids of such requests."""
    return f"(request_id <> '' AND (attempt > 0 OR request_id IN (FROM {retried})))"


def is_single(retried: str) -> str:
    """Return the condition of the others; an event without an id is a request of its own."""
    return f"(request_id = '' OR (attempt = 0 AND request_id NOT IN (FROM {retried})))"
