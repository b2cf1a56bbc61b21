"""The node's Prometheus metrics, read at each scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from libs.common.world_map import Instance, Report

STATES = ("booting", "ready", "draining", "failed")


class NodeMetrics(Collector):
    """How many instances all nodes of this process have, by state."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reports: list[Callable[[], Report]] = []
        registry.register(self)

    def watch(self, report: Callable[[], Report]) -> None:
        """Show one node at each scrape."""
        self._reports.append(report)

    def describe(self) -> Iterator[Metric]:
        """Name what `collect` yields without asking the nodes."""
        yield _family()

    def collect(self) -> Iterator[Metric]:
        """Count the instances now."""
        family = _family()
        for report in (each() for each in self._reports):
            counts: Counter[tuple[str, str]] = Counter()
            for resource in report.resources:
                if isinstance(resource, Instance):
                    counts[resource.model, resource.state] += 1
            for model in {model for model, _ in counts}:
                for state in STATES:
                    family.add_metric((report.name, model, state), counts[model, state])
        yield family


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "constellation_node_instances",
        "Instances by state.",
        labels=("node", "model", "state"),
    )
