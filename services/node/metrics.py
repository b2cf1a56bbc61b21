"""The node's Prometheus metrics, read at each scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from libs.common.metrics import Counts
from libs.common.world_map import Instance, Report

STATES = ("booting", "ready", "draining", "failed")
ENDS = ("ready", "failed", "canceled")  # of boots


class NodeMetrics(Collector):
    """What all nodes of this process have, and how their boots and reports to others went."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reports: list[Callable[[], Report]] = []
        self._dropped: dict[str, Callable[[], int]] = {}
        self.boots = Counts(
            "constellation_node_boots",
            "Boots that have come to their end: ready, failed, canceled.",
            ("node", "model", "status"),
        )
        registry.register(self)

    def watch(self, node: str, report: Callable[[], Report], dropped: Callable[[], int]) -> None:
        """Show one node at each scrape: its instances, and reports to others that were dropped."""
        self._reports.append(report)
        self._dropped[node] = dropped

    def describe(self) -> Iterator[Metric]:
        """Name what `collect` yields without asking the nodes."""
        yield self.boots.empty()
        yield _family()
        yield _dropped_family()

    def collect(self) -> Iterator[Metric]:
        """Show how boots have ended, and count the instances now."""
        reports = [each() for each in self._reports]
        yield self.boots.family(_boots(reports))
        family = _family()
        for report in reports:
            counts: Counter[tuple[str, str]] = Counter()
            for resource in report.resources:
                if isinstance(resource, Instance):
                    counts[resource.model, resource.state] += 1
            for model in {model for model, _ in counts}:
                for state in STATES:
                    family.add_metric((report.name, model, state), counts[model, state])
        yield family
        lost = _dropped_family()
        for node, dropped in self._dropped.items():
            lost.add_metric((node,), dropped())
        yield lost


def _boots(reports: Iterable[Report]) -> list[tuple[str, str, str]]:
    """Return the labels that boots of the instances that there are can end with."""
    return [
        (report.name, each.model, status)
        for report in reports
        for each in report.resources
        if isinstance(each, Instance)
        for status in ENDS
    ]


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "constellation_node_instances",
        "Instances by state: booting, ready, draining, failed.",
        labels=("node", "model", "state"),
    )


def _dropped_family() -> CounterMetricFamily:
    return CounterMetricFamily(
        "constellation_node_reports_dropped",
        "Reports to others that could not be sent.",
        labels=("node",),
    )
