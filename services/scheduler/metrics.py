"""The scheduler's Prometheus metrics: what was decided last, and what there is, at each scrape."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from libs.common.world_map import Decision
from services.scheduler.inventory import Deployment, ExternalInstance, ExternalNode
from services.scheduler.sizing import Sizing
from services.scheduler.usage import Key

PREFIX: Final = "ai_scheduler_"
MODEL: Final = ("model", "tier", "region")


class Metrics(Collector):
    """Shows values that are replaced as a whole, so that a scrape in another thread may read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._sizings: Mapping[Key, Sizing] = {}
        self._told: Mapping[Key, Decision] = {}
        self._deployments: Mapping[Deployment, int] = {}
        self._instances: Mapping[ExternalInstance, int] = {}
        self._nodes: Mapping[ExternalNode, int] = {}
        self.failed_ticks = Counter(
            f"{PREFIX}failed_ticks", "Steps that an error ended.", registry=registry
        )
        self.step_seconds = Histogram(
            f"{PREFIX}tick_seconds", "How long a step took.", registry=registry
        )
        registry.register(self)

    def __repr__(self) -> str:
        return f"<Metrics of {len(self._sizings)} sizings>"

    def show(self, sizings: Mapping[Key, Sizing], told: Mapping[Key, Decision]) -> None:
        """Show what was decided last."""
        self._sizings, self._told = sizings, dict(told)

    def show_fleet(
        self,
        deployments: Tally[Deployment],
        instances: Tally[ExternalInstance],
        nodes: Tally[ExternalNode],
    ) -> None:
        """Show what there is."""
        self._deployments, self._instances, self._nodes = deployments, instances, nodes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield all gauges."""
        yield from self._decided()
        yield _counted(
            "model_deployments",
            "Instances on nodes, by status: booting, ready, draining, failed, away.",
            Deployment,
            self._deployments.items(),
        )
        yield _counted(
            "external_instances",
            "Endpoints that others run: the catalog's `external` addresses, and instances on nodes"
            " with a `provider`.",
            ExternalInstance,
            self._instances.items(),
        )
        yield _counted(
            "external_nodes",
            "GPUs of nodes with a `provider`, by state: used, free.",
            ExternalNode,
            self._nodes.items(),
        )

    def _decided(self) -> Iterator[GaugeMetricFamily]:
        rows = [
            ((key.model, each.case.model.tier, key.region), each, self._told.get(key))
            for key, each in self._sizings.items()
        ]
        gauges = {
            name: GaugeMetricFamily(PREFIX + name, text, labels=MODEL)
            for name, text in DECIDED.items()
        }
        for labels, sizing, told in rows:
            for name, value in _values(sizing, told).items():
                gauges[name].add_metric(labels, value)
        yield from gauges.values()


DECIDED: Final = {
    "requested_instances": "Instances that there should be.",
    "min_requested_instances": "Fewest allowed.",
    "max_requested_instances": "Most allowed.",
    "autoscaler_measured_utilization": "Demand of the last minute per permit of the ready"
    " instances.",
    "autoscaler_estimated_utilization": "Smoothed demand per ready permit.",
    "autoscaler_forecast_utilization": "Demand that is to be covered, per ready permit.",
    "autoscaler_required_instances": "Instances for that, before damping and bounds.",
    "autoscaler_unplaced_instances": "Instances that should be and have no room.",
    "autoscaler_late_price": "Instance-minutes that one late request is worth.",
    "autoscaler_boot_seconds": "How long a boot takes: measured, or until then as given.",
    "autoscaler_snapshot_queue_length": "Requests that waited for a permit at the last step.",
    "autoscaler_snapshot_replica_count": "Instances that were ready at the last step.",
}


def _values(sizing: Sizing, told: Decision | None) -> dict[str, float]:
    case, made = sizing.case, sizing.made
    return {
        "requested_instances": sizing.wanted,
        "min_requested_instances": case.controls.min,
        "max_requested_instances": case.controls.max,
        "autoscaler_measured_utilization": made.measured,
        "autoscaler_estimated_utilization": made.estimated,
        "autoscaler_forecast_utilization": made.forecast,
        "autoscaler_required_instances": made.required,
        "autoscaler_unplaced_instances": max(0, sizing.wanted - told.placed) if told else 0,
        "autoscaler_late_price": made.price,
        "autoscaler_boot_seconds": case.controls.boot_s,
        "autoscaler_snapshot_queue_length": case.usage.queued,
        "autoscaler_snapshot_replica_count": case.usage.running,
    }


def _counted(
    name: str,
    text: str,
    labels: type[Deployment | ExternalInstance | ExternalNode],
    counts: Iterable[tuple[Sequence[str], int]],
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels._fields)
    for values, count in counts:
        family.add_metric(values, count)
    return family
