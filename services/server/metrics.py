"""The server's Prometheus metrics: counters as things happen, the rest read at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from libs.common.world_map import ShardLoad

LABELS = ("colo", "model")


class ServerMetrics(Collector):
    """What all servers of this process have done, and how full their shards are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._loads: list[Callable[[], Iterable[ShardLoad]]] = []
        prefix = "constellation_server_"
        self.requests = Counter(
            f"{prefix}requests", "Requests by HTTP status.", (*LABELS, "status"), registry=registry
        )
        self.errors = Counter(
            f"{prefix}errors",
            "Failed requests by our code and HTTP status.",
            (*LABELS, "internal", "http"),
            registry=registry,
        )
        self.turnstile = Counter(
            f"{prefix}turnstile_outcomes",
            "Calls by what the turnstile did: leased, queued, rejected.",
            (*LABELS, "outcome"),
            registry=registry,
        )
        self.tokens = Counter(
            f"{prefix}tokens", "Tokens by direction.", (*LABELS, "direction"), registry=registry
        )
        registry.register(self)

    def watch(self, loads: Callable[[], Iterable[ShardLoad]]) -> None:
        """Show the shards of one server at each scrape."""
        self._loads.append(loads)

    def describe(self) -> Iterator[Metric]:
        """Name what `collect` yields without asking the servers."""
        yield from self._families().values()

    def collect(self) -> Iterator[Metric]:
        """Read permits and queues now."""
        families = self._families()
        for load in (each for loads in self._loads for each in loads()):
            labels = (load.colo, load.model)
            families["total_permits"].add_metric(labels, load.permits)
            families["available_permits"].add_metric(labels, load.free)
            families["queue_size"].add_metric(labels, load.queued)
            removed = sum(each.state == "backoff" for each in load.endpoints)
            families["endpoints_removed"].add_metric(labels, removed)
        yield from families.values()

    def _families(self) -> dict[str, GaugeMetricFamily]:
        texts = {
            "total_permits": "Permits of the healthy endpoints.",
            "available_permits": "Permits that could be leased now.",
            "queue_size": "Calls waiting for a permit.",
            "endpoints_removed": "Endpoints in backoff.",
        }
        return {
            name: GaugeMetricFamily(f"constellation_server_{name}", text, labels=LABELS)
            for name, text in texts.items()
        }
