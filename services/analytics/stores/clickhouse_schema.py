"""The tables of the ClickHouse store, as the steps that made them.

A step that has been released is never edited; a new field is a new step with
ALTER TABLE ... ADD COLUMN IF NOT EXISTS, and the columns stay those of the
event's dataclass. ClickHouse has no transactions for these statements, so each
can be repeated: a step that was interrupted is done again from its beginning.
"""

from __future__ import annotations

DAY_MS = 86_400_000

# What percentiles are read from: counts of values, each as its first 8 binary digits. Two of them
# add up to what one of all values would be, so an answer is the same before and after a roll-up.
QUANTILES = "quantilesBFloat16(0.5, 0.95, 0.99)"

# What has an end (a day of the event's own time) is dropped a day at a time.
EVENTS = f"""
    CREATE TABLE IF NOT EXISTS inference_events (
        server LowCardinality(String),
        boot_epoch UInt64 CODEC(Delta, ZSTD),
        sequence UInt64 CODEC(Delta, ZSTD),
        account_id String CODEC(ZSTD),
        model_id LowCardinality(String),
        request_id String CODEC(ZSTD),
        timestamp_ms UInt64 CODEC(Delta, ZSTD),
        task LowCardinality(String),
        finetune LowCardinality(String),
        adapter LowCardinality(String),
        request_source LowCardinality(String),
        client_request_id String CODEC(ZSTD),
        attempt UInt64 CODEC(T64, ZSTD),
        continued_from UInt64 CODEC(T64, ZSTD),
        traceparent String CODEC(ZSTD),
        request_time_ms Float64 CODEC(ZSTD),
        inference_time_ms Float64 CODEC(ZSTD),
        queuing_time_ms Float64 CODEC(ZSTD),
        time_to_first_token Float64 CODEC(ZSTD),
        queue_us UInt64 CODEC(T64, ZSTD),
        permit_wait_us UInt64 CODEC(T64, ZSTD),
        forward_us UInt64 CODEC(T64, ZSTD),
        first_part_us UInt64 CODEC(T64, ZSTD),
        neurons Float64 CODEC(ZSTD),
        tokens_in UInt64 CODEC(T64, ZSTD),
        tokens_out UInt64 CODEC(T64, ZSTD),
        input_characters UInt64 CODEC(T64, ZSTD),
        pixels UInt64 CODEC(T64, ZSTD),
        steps UInt64 CODEC(T64, ZSTD),
        audio_seconds Float64 CODEC(ZSTD),
        bytes_in UInt64 CODEC(T64, ZSTD),
        bytes_out UInt64 CODEC(T64, ZSTD),
        error_code UInt64 CODEC(T64, ZSTD),
        http_status UInt64 CODEC(T64, ZSTD),
        flags UInt64 CODEC(T64, ZSTD),
        colo_id LowCardinality(String),
        source_colo_id LowCardinality(String),
        visited_colos Array(LowCardinality(String)),
        hops UInt64 CODEC(T64, ZSTD),
        model_container_id LowCardinality(String),
        endpoint LowCardinality(String),
        chosen_because LowCardinality(String),
        local_queue_size UInt64 CODEC(T64, ZSTD),
        cost UInt64 CODEC(T64, ZSTD),
        priority UInt64 CODEC(T64, ZSTD),
        shard UInt64 CODEC(T64, ZSTD),
        shard_epoch UInt64 CODEC(T64, ZSTD),
        hour_ms UInt64 MATERIALIZED intDiv(timestamp_ms, 3600000) * 3600000 CODEC(Delta, ZSTD),
        stored_ms UInt64 MATERIALIZED toUnixTimestamp64Milli(now64(3)) CODEC(Delta, ZSTD),
        INDEX stored stored_ms TYPE minmax GRANULARITY 1
    )
    ENGINE = ReplacingMergeTree
    PARTITION BY intDiv(timestamp_ms, {DAY_MS})
    PRIMARY KEY (hour_ms, account_id)
    ORDER BY (hour_ms, account_id, timestamp_ms, server, boot_epoch, sequence)
    SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
"""

LIFECYCLE = """
    CREATE TABLE IF NOT EXISTS lifecycle_events (
        server LowCardinality(String),
        boot_epoch UInt64,
        sequence UInt64,
        begin_ts UInt64,
        end_ts UInt64,
        event_type LowCardinality(String),
        model_id LowCardinality(String),
        hostname LowCardinality(String),
        colo LowCardinality(String),
        node LowCardinality(String),
        endpoint LowCardinality(String)
    )
    ENGINE = ReplacingMergeTree
    ORDER BY (server, boot_epoch, sequence)
    SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""

# One row per request whose attempts differ in nothing that rows are grouped by. Keeps nothing:
# what is inserted goes to its views.
WHOLE_REQUESTS = """
    CREATE TABLE IF NOT EXISTS whole_requests (
        hour_ms UInt64,
        generation UInt64,
        account_id String,
        model_id LowCardinality(String),
        finetune LowCardinality(String),
        request_source LowCardinality(String),
        colo_id LowCardinality(String),
        error_code UInt64,
        neurons Float64,
        tokens_in UInt128,
        tokens_out UInt128,
        queue_us UInt128,
        request_time_ms Float64,
        first_token_ms Float64
    )
    ENGINE = Null
"""

USAGE_HOURLY = f"""
    CREATE TABLE IF NOT EXISTS usage_hourly (
        hour_ms UInt64 CODEC(Delta, ZSTD),
        generation UInt64 CODEC(Delta, ZSTD),
        account_id String CODEC(ZSTD),
        model_id LowCardinality(String),
        finetune LowCardinality(String),
        request_source LowCardinality(String),
        colo_id LowCardinality(String),
        error_code UInt64 CODEC(T64, ZSTD),
        requests SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD),
        neurons SimpleAggregateFunction(sum, Float64) CODEC(ZSTD),
        tokens_in SimpleAggregateFunction(sum, UInt128) CODEC(ZSTD),
        tokens_out SimpleAggregateFunction(sum, UInt128) CODEC(ZSTD),
        queue_us SimpleAggregateFunction(sum, UInt128) CODEC(ZSTD),
        request_times AggregateFunction({QUANTILES}, Float64) CODEC(ZSTD),
        first_tokens AggregateFunction({QUANTILES}, Float64) CODEC(ZSTD)
    )
    ENGINE = AggregatingMergeTree
    PARTITION BY intDiv(hour_ms, {30 * DAY_MS})
    PRIMARY KEY (hour_ms, generation, account_id)
    ORDER BY (hour_ms, generation, account_id, model_id, finetune, request_source, colo_id,
        error_code)
    SETTINGS ttl_only_drop_parts = 1
"""

USAGE_HOURLY_VIEW = f"""
    CREATE MATERIALIZED VIEW IF NOT EXISTS usage_hourly_view TO usage_hourly AS
    SELECT hour_ms, generation, account_id, model_id, finetune, request_source, colo_id, error_code,
        count() AS requests,
        sum(w.neurons) AS neurons,
        sum(w.tokens_in) AS tokens_in,
        sum(w.tokens_out) AS tokens_out,
        sum(w.queue_us) AS queue_us,
        {QUANTILES.replace("(", "State(", 1)}(request_time_ms) AS request_times,
        {QUANTILES.replace("(", "StateIf(", 1)}(first_token_ms, first_token_ms > 0) AS first_tokens
    FROM whole_requests AS w
    GROUP BY hour_ms, generation, account_id, model_id, finetune, request_source, colo_id,
        error_code
"""

# The attempts of the other requests, as they are: what such a request counts for depends on what
# rows are grouped by.
USAGE_ATTEMPTS = f"""
    CREATE TABLE IF NOT EXISTS usage_attempts (
        hour_ms UInt64 CODEC(Delta, ZSTD),
        generation UInt64 CODEC(Delta, ZSTD),
        account_id String CODEC(ZSTD),
        model_id LowCardinality(String),
        request_id String CODEC(ZSTD),
        timestamp_ms UInt64 CODEC(Delta, ZSTD),
        sequence UInt64 CODEC(ZSTD),
        finetune LowCardinality(String),
        request_source LowCardinality(String),
        attempt UInt64 CODEC(T64, ZSTD),
        request_time_ms Float64 CODEC(ZSTD),
        time_to_first_token Float64 CODEC(ZSTD),
        queue_us UInt64 CODEC(T64, ZSTD),
        neurons Float64 CODEC(ZSTD),
        tokens_in UInt64 CODEC(T64, ZSTD),
        tokens_out UInt64 CODEC(T64, ZSTD),
        error_code UInt64 CODEC(T64, ZSTD),
        colo_id LowCardinality(String)
    )
    ENGINE = MergeTree
    PARTITION BY intDiv(hour_ms, {30 * DAY_MS})
    ORDER BY (hour_ms, generation, account_id, request_id)
    SETTINGS ttl_only_drop_parts = 1
"""

# A generation of an hour that is here is whole.
USAGE_HOURS = """
    CREATE TABLE IF NOT EXISTS usage_hours (hour_ms UInt64, generation UInt64)
    ENGINE = ReplacingMergeTree(generation) ORDER BY hour_ms
"""

# A pass that is here has rolled up every hour before `through_ms` in which something had been
# stored since the pass before.
USAGE_PASSES = """
    CREATE TABLE IF NOT EXISTS usage_passes (started_ms UInt64, through_ms UInt64)
    ENGINE = ReplacingMergeTree(started_ms) ORDER BY tuple()
"""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        EVENTS,
        LIFECYCLE,
        WHOLE_REQUESTS,
        USAGE_HOURLY,
        USAGE_HOURLY_VIEW,
        USAGE_ATTEMPTS,
        USAGE_HOURS,
        USAGE_PASSES,
    ),
)

VERSION_TABLE = """
    CREATE TABLE IF NOT EXISTS schema_version (version UInt32, made DateTime DEFAULT now())
    ENGINE = MergeTree ORDER BY version
"""

# What each table's rows are old by, and which of the two retentions it has.
OF_EVENTS = {"inference_events": "timestamp_ms", "lifecycle_events": "begin_ts"}
OF_USAGE = {"usage_hourly": "hour_ms", "usage_attempts": "hour_ms", "usage_hours": "hour_ms"}


def ttl(column: str, days: int) -> str:
    """Return the expression of when a row may go; what is after 2050 is taken for 2050."""
    return f"toDateTime(least(intDiv({column}, 1000), 2524608000)) + toIntervalDay({days})"
