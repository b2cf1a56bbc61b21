"""Control's Prometheus metrics, read at each scrape: whom it hears, and whether it can write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from libs.common.events.metrics import SinkMetrics
from services.control.service import Control

PREFIX: Final = "constellation_control_"


class CountsFailures(Protocol):
    """A store, which knows how often it could not be had."""

    failures: int


class ControlMetrics(Collector):
    """What is known of this process's control and its store."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._control: Control | None = None
        self._store: CountsFailures | None = None
        self.events = SinkMetrics(registry, prefix=f"{PREFIX}events_")
        registry.register(self)

    def watch(self, control: Control, store: CountsFailures) -> None:
        """Show it at each scrape."""
        self._control, self._store = control, store

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        control, store = self._control, self._store
        yield GaugeMetricFamily(
            f"{PREFIX}active",
            "1: it is active, 0: it stands by.",
            float(control is not None and control.is_active),
        )
        reporting = GaugeMetricFamily(
            f"{PREFIX}reporting",
            "Servers, entries and nodes: 1 while their reports come, else 0. Servers and entries"
            " that are gone are forgotten; nodes stay, and those on which instances should be.",
            labels=("kind", "name"),
        )
        for (kind, name), is_heard in control.reporting().items() if control else ():
            reporting.add_metric((kind, name), float(is_heard))
        yield reporting
        yield GaugeMetricFamily(
            f"{PREFIX}catalog_mistakes",
            "Mistakes in the catalog's files; with any, what was good before is served.",
            len(control.mistakes) if control else 0,
        )
        staged = GaugeMetricFamily(
            f"{PREFIX}staged_models",
            "1 for each model that is another in a colo than in the catalog.",
            labels=("colo", "model"),
        )
        for labels in control.staged if control else ():
            staged.add_metric(labels, 1.0)
        yield staged
        watchers = control.watchers if control else 0
        yield GaugeMetricFamily(f"{PREFIX}watchers", "Services that follow it.", watchers)
        yield CounterMetricFamily(
            f"{PREFIX}store_failures",
            "Times that the store could not be had, or was another control's.",
            store.failures if store else 0,
        )
