"""Analytics' metrics: every count has one."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from services.analytics.app import Config, build
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.ports import ReadingCounts


def test_every_count_is_a_metric(folder: Path) -> None:
    registry = CollectorRegistry()
    analytics = build(Config(state_dir=folder), registry=registry)
    analytics.collector.counts.events = 7
    analytics.lines.each["duckdb"].counts.write_seconds = 1.5

    text = generate_latest(registry).decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))

    assert values["constellation_analytics_events_total"] == "7.0"
    assert values['constellation_analytics_store_write_seconds_total{store="duckdb"}'] == "1.5"
    assert set(values) == {
        f"constellation_analytics_{name}"
        for name in (
            "batches_total",
            "connections_broken_total",
            "connections_refused_total",
            "connections_total",
            'events_stored_total{store="duckdb"}',
            "events_total",
            "events_unknown_total",
            "open_connections",
            'store_write_errors_total{store="duckdb"}',
            'store_write_seconds_total{store="duckdb"}',
            'store_writes_total{store="duckdb"}',
            'waiting_events{store="duckdb"}',
        )
    }


class Behind:
    """What reads Kafka, and is behind."""

    counts = ReadingCounts(records=10, records_broken=1, records_missed=2, errors=3)

    def running(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def lag(self) -> dict[tuple[str, int], int]:
        return {("events", 0): 5, ("events", 1): 0}


def test_how_far_a_store_is_behind_kafka_is_a_metric(folder: Path) -> None:
    registry, built = (
        CollectorRegistry(),
        build(Config(state_dir=folder), registry=CollectorRegistry()),
    )
    AnalyticsMetrics(
        registry,
        collector=built.collector,
        lines=built.lines,
        readings={"duckdb": Behind()},
    )

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"constellation_analytics_{name}", labels)

    assert value("kafka_lag_records", store="duckdb", topic="events", partition="0") == 5
    assert value("kafka_lag_records", store="duckdb", topic="events", partition="1") == 0
    assert value("kafka_records_total", store="duckdb") == 10
    assert value("kafka_records_broken_total", store="duckdb") == 1
    assert value("kafka_records_missed_total", store="duckdb") == 2
    assert value("kafka_read_errors_total", store="duckdb") == 3
