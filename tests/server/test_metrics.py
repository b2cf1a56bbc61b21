"""The server's metrics: counts, and how full the shards are at a scrape."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from libs.common.world_map import EndpointLoad, ShardLoad
from services.server.metrics import ServerMetrics

LABELS = {"colo": "ams", "model": "@cf/demo/echo"}
KEY = ("ams", "@cf/demo/echo")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ServerMetrics:
    return ServerMetrics(registry)


def test_what_was_never_counted_is_named_all_the_same(
    registry: CollectorRegistry, metrics: ServerMetrics
) -> None:
    lines = generate_latest(registry).decode().splitlines()

    assert [line.removeprefix("# HELP constellation_server_") for line in lines[::2]] == [
        "requests_total Requests by HTTP status.",
        "errors_total Failed requests by our code and HTTP status.",
        "turnstile_outcomes_total Calls by what the turnstile did: leased, queued, rejected.",
        "tokens_total Tokens by direction.",
        "total_permits Permits of the healthy endpoints.",
        "available_permits Permits that could be leased now.",
        "queue_size Calls waiting for a permit.",
        "endpoints_removed Endpoints in backoff.",
        "queue_dropped_total Calls that left the queue unserved: time_up, pushed_out, taken_over.",
    ]
    assert [line.split()[-1] for line in lines[1::2]] == [
        *["counter"] * 4,
        *["gauge"] * 4,
        "counter",
    ]


def test_counts_have_their_labels(registry: CollectorRegistry, metrics: ServerMetrics) -> None:
    metrics.requests[*KEY, 200] += 1
    metrics.errors[*KEY, 3040, 429] += 2
    metrics.turnstile[*KEY, "leased"] += 3
    metrics.tokens[*KEY, "in"] += 4

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"constellation_server_{name}_total", LABELS | labels)

    assert value("requests", status="200") == 1
    assert value("errors", internal="3040", http="429") == 2
    assert value("turnstile_outcomes", outcome="leased") == 3
    assert value("tokens", direction="in") == 4


def test_shards_are_read_at_each_scrape(
    registry: CollectorRegistry, metrics: ServerMetrics
) -> None:
    load = ShardLoad(
        model=LABELS["model"],
        colo=LABELS["colo"],
        index=0,
        server="ams-0",
        permits=4,
        free=3,
        queued=2,
        endpoints=(EndpointLoad(instance="i", address="h:1", state="backoff", in_flight=0),),
    )
    loads = [load]
    metrics.watch(lambda: loads)

    def value(name: str) -> float | None:
        return registry.get_sample_value(f"constellation_server_{name}", LABELS)

    names = ("total_permits", "available_permits", "queue_size", "endpoints_removed")
    assert [value(name) for name in names] == [4, 3, 2, 1]
    loads.clear()
    assert value("total_permits") is None


def test_what_the_queues_dropped_is_read_at_each_scrape(
    registry: CollectorRegistry, metrics: ServerMetrics
) -> None:
    metrics.watch(list, lambda: [(*KEY, {"time_up": 3})])

    labels = LABELS | {"reason": "time_up"}
    assert registry.get_sample_value("constellation_server_queue_dropped_total", labels) == 3
