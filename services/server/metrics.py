"""The server's Prometheus metrics: counts as things happen, the rest read at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from libs.common.metrics import Counts
from libs.common.world_map import ShardLoad

LABELS = ("colo", "model")
PREFIX = "constellation_server_"
Dropped: TypeAlias = tuple[str, str, Mapping[str, int]]  # colo, model, counts by reason


class ServerMetrics(Collector):
    """What all servers of this process have done, and how full their shards are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._loads: list[Callable[[], Iterable[ShardLoad]]] = []
        self._dropped: list[Callable[[], Iterable[Dropped]]] = []
        self.requests = Counts(f"{PREFIX}requests", "Requests by HTTP status.", (*LABELS, "status"))
        self.errors = Counts(
            f"{PREFIX}errors",
            "Failed requests by our code and HTTP status.",
            (*LABELS, "internal", "http"),
        )
        self.turnstile = Counts(
            f"{PREFIX}turnstile_outcomes",
            "Calls by what the turnstile did: leased, queued, rejected.",
            (*LABELS, "outcome"),
        )
        self.tokens = Counts(f"{PREFIX}tokens", "Tokens by direction.", (*LABELS, "direction"))
        self._counts = (self.requests, self.errors, self.turnstile, self.tokens)
        registry.register(self)

    def watch(
        self,
        loads: Callable[[], Iterable[ShardLoad]],
        dropped: Callable[[], Iterable[Dropped]] = tuple,
    ) -> None:
        """Show the shards of one server at each scrape, and what their queues have dropped."""
        self._loads.append(loads)
        self._dropped.append(dropped)

    def describe(self) -> Iterator[Metric]:
        """Name what `collect` yields without asking the servers."""
        yield from (counts.empty() for counts in self._counts)
        yield from _families().values()
        yield _queue_dropped()

    def collect(self) -> Iterator[Metric]:
        """Show the counts, and read permits and queues now."""
        yield from (counts.family() for counts in self._counts)
        families = _families()
        for load in (each for loads in self._loads for each in loads()):
            labels = (load.colo, load.model)
            families["total_permits"].add_metric(labels, load.permits)
            families["available_permits"].add_metric(labels, load.free)
            families["queue_size"].add_metric(labels, load.queued)
            removed = sum(each.state == "backoff" for each in load.endpoints)
            families["endpoints_removed"].add_metric(labels, removed)
        yield from families.values()
        family = _queue_dropped()
        for colo, model, counts in (each for dropped in self._dropped for each in dropped()):
            for reason, count in counts.items():
                family.add_metric((colo, model, reason), count)
        yield family


def _queue_dropped() -> CounterMetricFamily:
    text = "Calls that left the queue unserved: time_up, pushed_out, taken_over."
    return CounterMetricFamily(f"{PREFIX}queue_dropped", text, labels=(*LABELS, "reason"))


def _families() -> dict[str, GaugeMetricFamily]:
    texts = {
        "total_permits": "Permits of the healthy endpoints.",
        "available_permits": "Permits that could be leased now.",
        "queue_size": "Calls waiting for a permit.",
        "endpoints_removed": "Endpoints in backoff.",
    }
    return {
        name: GaugeMetricFamily(f"{PREFIX}{name}", text, labels=LABELS)
        for name, text in texts.items()
    }
