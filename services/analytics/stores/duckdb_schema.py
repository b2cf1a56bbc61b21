"""The tables of the DuckDB store, as the steps that made them.

A step that has been released is never edited; a new field is a new step with
ALTER TABLE ... ADD COLUMN, and the columns stay those of the event's dataclass.
"""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE inference_events (
        server VARCHAR NOT NULL,
        boot_epoch UBIGINT NOT NULL,
        sequence UBIGINT NOT NULL,
        account_id VARCHAR NOT NULL,
        model_id VARCHAR NOT NULL,
        request_id VARCHAR NOT NULL,
        timestamp_ms UBIGINT NOT NULL,
        task VARCHAR NOT NULL,
        finetune VARCHAR NOT NULL,
        adapter VARCHAR NOT NULL,
        request_source VARCHAR NOT NULL,
        client_request_id VARCHAR NOT NULL,
        attempt UBIGINT NOT NULL,
        continued_from UBIGINT NOT NULL,
        traceparent VARCHAR NOT NULL,
        request_time_ms DOUBLE NOT NULL,
        inference_time_ms DOUBLE NOT NULL,
        queuing_time_ms DOUBLE NOT NULL,
        time_to_first_token DOUBLE NOT NULL,
        queue_us UBIGINT NOT NULL,
        permit_wait_us UBIGINT NOT NULL,
        forward_us UBIGINT NOT NULL,
        first_part_us UBIGINT NOT NULL,
        neurons DOUBLE NOT NULL,
        tokens_in UBIGINT NOT NULL,
        tokens_out UBIGINT NOT NULL,
        input_characters UBIGINT NOT NULL,
        pixels UBIGINT NOT NULL,
        steps UBIGINT NOT NULL,
        audio_seconds DOUBLE NOT NULL,
        bytes_in UBIGINT NOT NULL,
        bytes_out UBIGINT NOT NULL,
        error_code UBIGINT NOT NULL,
        http_status UBIGINT NOT NULL,
        flags UBIGINT NOT NULL,
        colo_id VARCHAR NOT NULL,
        source_colo_id VARCHAR NOT NULL,
        visited_colos VARCHAR[] NOT NULL,
        hops UBIGINT NOT NULL,
        model_container_id VARCHAR NOT NULL,
        endpoint VARCHAR NOT NULL,
        chosen_because VARCHAR NOT NULL,
        local_queue_size UBIGINT NOT NULL,
        cost UBIGINT NOT NULL,
        priority UBIGINT NOT NULL,
        shard UBIGINT NOT NULL,
        shard_epoch UBIGINT NOT NULL
    );
    CREATE TABLE lifecycle_events (
        server VARCHAR NOT NULL,
        boot_epoch UBIGINT NOT NULL,
        sequence UBIGINT NOT NULL,
        begin_ts UBIGINT NOT NULL,
        end_ts UBIGINT NOT NULL,
        event_type VARCHAR NOT NULL,
        model_id VARCHAR NOT NULL,
        hostname VARCHAR NOT NULL,
        colo VARCHAR NOT NULL,
        node VARCHAR NOT NULL,
        endpoint VARCHAR NOT NULL
    );
    CREATE TABLE watermarks (
        server VARCHAR NOT NULL,
        boot_epoch UBIGINT NOT NULL,
        last_sequence UBIGINT NOT NULL,
        PRIMARY KEY (server, boot_epoch)
    );
    """,
    # By Kafka, a boot's events come in several partitions; directly, in the one named ''.
    # What reads Kafka for this file has to read all of it: the id is the file's own.
    """
    CREATE TABLE watermarks_by_partition (
        server VARCHAR NOT NULL,
        boot_epoch UBIGINT NOT NULL,
        partition VARCHAR NOT NULL,
        last_sequence UBIGINT NOT NULL,
        PRIMARY KEY (server, boot_epoch, partition)
    );
    INSERT INTO watermarks_by_partition
        SELECT server, boot_epoch, '', last_sequence FROM watermarks;
    DROP TABLE watermarks;
    ALTER TABLE watermarks_by_partition RENAME TO watermarks;
    CREATE TABLE identity (id VARCHAR NOT NULL);
    INSERT INTO identity SELECT uuid();
    """,
    # Usage by the hour, made of the events of hours that are over (see duckdb_rollup.py).
    # An hour is in usage_open while a part has not all of its events.
    """
    CREATE TABLE usage_open (hour_ms UBIGINT NOT NULL);
    CREATE TABLE usage_parts (
        part UBIGINT NOT NULL,
        hour_ms UBIGINT NOT NULL,
        sealed BOOLEAN NOT NULL
    );
    CREATE SEQUENCE usage_part_numbers;
    CREATE TABLE usage_series (
        series UBIGINT NOT NULL,
        account_id VARCHAR NOT NULL,
        model_id VARCHAR NOT NULL,
        finetune VARCHAR NOT NULL,
        request_source VARCHAR NOT NULL,
        error_code UBIGINT NOT NULL,
        colo_id VARCHAR NOT NULL
    );
    CREATE TABLE usage_sums (
        part UBIGINT NOT NULL,
        hour_ms UBIGINT NOT NULL,
        series UBIGINT NOT NULL,
        requests UBIGINT NOT NULL,
        neurons DOUBLE NOT NULL,
        tokens_in HUGEINT NOT NULL,
        tokens_out HUGEINT NOT NULL,
        queue_us HUGEINT NOT NULL
    );
    CREATE TABLE usage_times (
        part UBIGINT NOT NULL,
        hour_ms UBIGINT NOT NULL,
        series UBIGINT NOT NULL,
        bucket SMALLINT NOT NULL,
        timed UBIGINT NOT NULL,
        first_tokens UBIGINT NOT NULL
    );
    CREATE TABLE usage_model_times (
        part UBIGINT NOT NULL,
        hour_ms UBIGINT NOT NULL,
        model_id VARCHAR NOT NULL,
        bucket SMALLINT NOT NULL,
        timed UBIGINT NOT NULL,
        first_tokens UBIGINT NOT NULL
    );
    CREATE TABLE usage_attempts (
        part UBIGINT NOT NULL,
        hour_ms UBIGINT NOT NULL,
        account_id VARCHAR NOT NULL,
        model_id VARCHAR NOT NULL,
        finetune VARCHAR NOT NULL,
        request_source VARCHAR NOT NULL,
        colo_id VARCHAR NOT NULL,
        request_id VARCHAR NOT NULL,
        attempt UBIGINT NOT NULL,
        timestamp_ms UBIGINT NOT NULL,
        sequence UBIGINT NOT NULL,
        error_code UBIGINT NOT NULL,
        neurons DOUBLE NOT NULL,
        tokens_in UBIGINT NOT NULL,
        tokens_out UBIGINT NOT NULL,
        request_time_ms DOUBLE NOT NULL,
        time_to_first_token DOUBLE NOT NULL,
        queue_us UBIGINT NOT NULL
    );
    INSERT INTO usage_open
        SELECT DISTINCT timestamp_ms // 3600000 * 3600000 FROM inference_events;
    """,
)

VERSION_TABLE = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"
