"""Gauges of a server's shards, read at each scrape and added up by model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from prometheus_client.core import GaugeMetricFamily

from libs.common.addresses import base_url
from services.server.outliers import HEALTHY
from services.server.shards import OwnedShard

LABELS = ("colo", "model")
TEXTS = {
    "total_permits": "Permits of the endpoints that take calls.",
    "available_permits": "Permits that could be leased now.",
    "permits_held_back": "Permits that adaptive limits do not give now: what"
    " `per_instance` allows, less what the instances can bear.",
    "queue_size": "Calls waiting for a permit.",
    "full_fraction": "Part of the last 5 minutes in which no permit was free; of several"
    " shards the fullest.",
    "mean_used_permits": "Permits in use, the mean of the last 5 minutes.",
    "mean_queue_size": "Calls waiting for a permit, the mean of the last 5 minutes.",
    "endpoints_removed": "Endpoints that were ejected and are not back yet.",
}
PORTS = {"http": 80, "https": 443}
EXTERNAL = "External endpoints: 1 if all at this host and port are healthy, else 0."


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
        "permits_held_back": sum(
            [e.limit.most - e.limit.permits for e in turnstile.endpoints.values() if e.limit]
        ),
        "queue_size": turnstile.waiting,
        "full_fraction": window.full_fraction,
        "mean_used_permits": window.mean_used_permits,
        "mean_queue_size": window.mean_queue_size,
        "endpoints_removed": states.count("backoff"),
    }


def _external(shards: Iterable[OwnedShard], prefix: str) -> GaugeMetricFamily:
    labels = (*LABELS, "host", "port")
    family = GaugeMetricFamily(f"{prefix}external_endpoints", EXTERNAL, labels=labels)
    healthy: dict[tuple[str, str, str, str], bool] = {}
    for shard in shards:
        for each in shard.turnstile.endpoints.values():
            if each.external:
                where = (shard.colo, shard.model.name, *_host_and_port(each.address))
                is_healthy = each.condition.state == HEALTHY
                healthy[where] = is_healthy and healthy.get(where, True)
    for where, is_healthy in healthy.items():
        family.add_metric(where, float(is_healthy))
    return family


def _host_and_port(address: str) -> tuple[str, str]:
    parts = urlsplit(base_url(address))
    return parts.hostname or "", str(parts.port or PORTS[parts.scheme])
