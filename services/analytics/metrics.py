"""Analytics' Prometheus metrics: the plain counts, read at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as MetricsCollector

from services.analytics.collector import Collector
from services.analytics.lines import Lines

PREFIX = "constellation_analytics_"


class AnalyticsMetrics(MetricsCollector):
    """What the collector has received, and what of it each store has."""

    def __init__(self, registry: CollectorRegistry, *, collector: Collector, lines: Lines) -> None:
        self._collector = collector
        self._lines = lines
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        came = self._collector.counts
        yield _gauge("open_connections", "Sinks that are connected.", self._collector.connections)
        for name, text, value in (
            ("connections", "Connections of sinks.", came.connections),
            ("connections_refused", "Connections beyond the bound.", came.connections_refused),
            ("connections_broken", "Connections closed for their input.", came.connections_broken),
            ("batches", "Batches received, repeated ones included.", came.batches),
            ("events", "Events received, repeated ones included.", came.events),
            ("events_unknown", "Events of a kind from a newer version.", came.events_unknown),
        ):
            yield CounterMetricFamily(PREFIX + name, text, value=value)
        yield from self._of_stores()

    def _of_stores(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            PREFIX + "waiting_events", "Events in line for the store.", labels=["store"]
        )
        for store, line in self._lines.each.items():
            waiting.add_metric([store], line.waiting_events)
        yield waiting
        for name, text, field in (
            ("events_stored", "Events stored, repeated ones included.", "events"),
            ("store_writes", "Writes to the store.", "writes"),
            ("store_write_seconds", "Time spent in those writes.", "write_seconds"),
            ("store_write_errors", "Writes that failed and were tried again.", "write_errors"),
        ):
            counter = CounterMetricFamily(PREFIX + name, text, labels=["store"])
            for store, line in self._lines.each.items():
                counter.add_metric([store], getattr(line.counts, field))
            yield counter


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, value=value)
