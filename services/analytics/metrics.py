"""Analytics' Prometheus metrics: the plain counts, read at each scrape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as MetricsCollector

from services.analytics.collector import Collector
from services.analytics.lines import Lines
from services.analytics.ports import Reading

PREFIX = "constellation_analytics_"


class AnalyticsMetrics(MetricsCollector):
    """What the collector has received, and what of it each store has."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        collector: Collector,
        lines: Lines,
        readings: Mapping[str, Reading],
    ) -> None:
        self._collector = collector
        self._lines = lines
        self._readings = readings
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
        yield from self._of_readings()

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
            counts = {store: line.counts for store, line in self._lines.each.items()}
            yield _by_store(name, text, counts, field)

    def _of_readings(self) -> Iterator[Metric]:
        lag = GaugeMetricFamily(
            PREFIX + "kafka_lag_records",
            "Records in Kafka that the store does not have yet.",
            labels=["store", "topic", "partition"],
        )
        for store, reading in self._readings.items():
            for (topic, partition), records in reading.lag().items():
                lag.add_metric([store, topic, str(partition)], records)
        yield lag
        for name, text, field in (
            ("kafka_records", "Records read from Kafka, repeated ones included.", "records"),
            ("kafka_records_broken", "Of those, without an event; left out.", "records_broken"),
            ("kafka_records_missed", "Deleted by Kafka before they were read.", "records_missed"),
            ("kafka_read_errors", "Times that reading ended, and began anew.", "errors"),
        ):
            counts = {store: reading.counts for store, reading in self._readings.items()}
            yield _by_store(name, text, counts, field)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _by_store(
    name: str, text: str, counts: Mapping[str, object], field: str
) -> CounterMetricFamily:
    counter = CounterMetricFamily(PREFIX + name, text, labels=["store"])
    for store, each in counts.items():
        counter.add_metric([store], getattr(each, field))
    return counter
