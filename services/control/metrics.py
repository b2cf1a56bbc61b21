"""Control's Prometheus metrics, read at each scrape: whom it hears, and whether it can write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.control.service import Control

PREFIX: Final = "constellation_control_"


class CountsFailures(Protocol):
    """A store, which knows how often it could not be had."""

    failures: int


class ControlMetrics(Collector):
    """What is known of one control and its store."""

    def __init__(
        self, registry: CollectorRegistry, *, control: Control, store: CountsFailures
    ) -> None:
        self._control = control
        self._store = store
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        yield GaugeMetricFamily(
            f"{PREFIX}active", "1: it is active, 0: it stands by.", float(self._control.is_active)
        )
        reporting = GaugeMetricFamily(
            f"{PREFIX}reporting",
            "Servers, entries and nodes: 1 while their reports come, else 0. Servers and entries"
            " that are gone are forgotten; nodes stay, and those on which instances should be.",
            labels=("kind", "name"),
        )
        for (kind, name), is_heard in self._control.reporting().items():
            reporting.add_metric((kind, name), float(is_heard))
        yield reporting
        yield GaugeMetricFamily(
            f"{PREFIX}watchers", "Services that follow it.", self._control.watchers
        )
        yield CounterMetricFamily(
            f"{PREFIX}store_failures",
            "Times that the store could not be had, or was another control's.",
            self._store.failures,
        )
