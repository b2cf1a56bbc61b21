"""Gauges of a server's shards, read at each scrape and added up by model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily

from libs.common.addresses import host_port
from services.server.outliers import HEALTHY
from services.server.shards import OwnedShard

LABELS = ("colo", "model")
TEXTS = {
    "total_permits": "Permits of the endpoints that take calls.",
    "available_permits": "Permits that could be leased now.",
    "queue_size": "Calls waiting for a permit.",
    "full_fraction": "Part of the last 5 minutes in which no permit was free.",
    "mean_used_permits": "Permits in use, the mean of the last 5 minutes.",
    "mean_queue_size": "Calls waiting, the mean of the last 5 minutes.",
    "endpoints_removed": "Endpoints that were ejected and are not back yet.",
}
EXTERNAL = "External endpoints: 1 if healthy, else 0."


def families(shards: Iterable[OwnedShard], *, prefix: str) -> Iterator[GaugeMetricFamily]:
    """Return all gauges; without shards, what there could be."""
    every = list(shards)
    values: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: dict.fromkeys(TEXTS, 0.0))
    for shard in every:
        total = values[shard.colo, shard.model.name]
        for name, value in _values(shard).items():
            # of several shards the fullest one says how full the model is
            added = max(total[name], value) if name == "full_fraction" else total[name] + value
            total[name] = added
    for name, text in TEXTS.items():
        family = GaugeMetricFamily(f"{prefix}{name}", text, labels=LABELS)
        for labels, found in values.items():
            family.add_metric(labels, found[name])
        yield family
    yield _external(every, prefix)


def _values(shard: OwnedShard) -> dict[str, float]:
    turnstile, window = shard.turnstile, shard.window
    states = [each.load().state for each in turnstile.endpoints.values()]
    return {
        "total_permits": turnstile.permits,
        "available_permits": turnstile.free,
        "queue_size": turnstile.waiting,
        "full_fraction": window.full_fraction,
        "mean_used_permits": window.mean_used_permits,
        "mean_queue_size": window.mean_queue_size,
        "endpoints_removed": states.count("backoff"),
    }


def _external(shards: Iterable[OwnedShard], prefix: str) -> GaugeMetricFamily:
    labels = (*LABELS, "host", "port")
    family = GaugeMetricFamily(f"{prefix}external_endpoints", EXTERNAL, labels=labels)
    for shard in shards:
        for each in shard.turnstile.endpoints.values():
            if each.external:
                host, port = host_port(each.address)
                where = (shard.colo, shard.model.name, host, str(port))
                family.add_metric(where, float(each.condition.state == HEALTHY))
    return family
