"""What a scrape of a node shows."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from libs.common.world_map import Instance, Node, Report
from services.node.metrics import NodeMetrics


def test_instances_boots_and_dropped_reports_are_shown_by_node() -> None:
    registry = CollectorRegistry()
    metrics = NodeMetrics(registry)
    me = Node(name="n1", colo="ams")
    ready = Instance(id="n1/m/0", model="m", colo="ams", node="n1", state="ready")
    report = Report(kind="node", name="n1", colo="ams", resources=(me, ready))

    metrics.watch("n1", lambda: report, lambda: 3)
    metrics.boots["n1", "m", "failed"] += 1

    def shown(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"constellation_node_{name}", {"node": "n1", **labels})

    assert shown("instances", model="m", state="ready") == 1
    assert shown("instances", model="m", state="failed") == 0
    assert shown("boots_total", model="m", status="failed") == 1
    assert shown("boots_total", model="m", status="ready") == 0
    assert shown("reports_dropped_total") == 3
