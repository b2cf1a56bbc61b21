"""Analytics' Prometheus metrics: the plain counts, read at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as MetricsCollector

from services.analytics.collector import Collector
from services.analytics.storing import Storing

PREFIX = "constellation_analytics_"


class AnalyticsMetrics(MetricsCollector):
    """What the collector has received, and what of it is stored."""

    def __init__(
        self, registry: CollectorRegistry, *, collector: Collector, storing: Storing
    ) -> None:
        self._collector = collector
        self._storing = storing
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        came, kept = self._collector.counts, self._storing.counts
        yield _gauge("open_connections", "Sinks that are connected.", self._collector.connections)
        yield _gauge(
            "waiting_events", "Events in line for the store.", self._storing.waiting_events
        )
        for name, text, value in (
            ("connections", "Connections of sinks.", came.connections),
            ("connections_refused", "Connections beyond the bound.", came.connections_refused),
            ("connections_broken", "Connections closed for their input.", came.connections_broken),
            ("batches", "Batches received, repeated ones included.", came.batches),
            ("events", "Events received, repeated ones included.", came.events),
            ("events_unknown", "Events of a kind from a newer version.", came.events_unknown),
            ("events_stored", "Events acknowledged, repeated ones included.", kept.events),
            ("store_writes", "Writes to the store.", kept.writes),
            ("store_write_seconds", "Time spent in those writes.", kept.write_seconds),
            ("store_write_errors", "Writes that failed and were tried again.", kept.write_errors),
        ):
            yield CounterMetricFamily(PREFIX + name, text, value=value)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, value=value)
