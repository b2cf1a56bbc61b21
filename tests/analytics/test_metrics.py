"""Analytics' metrics: every count has one."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from services.analytics.app import Config, build


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
