"""The server's metrics: counts, and how full the shards are at a scrape."""

from __future__ import annotations

import random

from prometheus_client import CollectorRegistry, generate_latest

from libs.common.catalog import Permits
from services.server.endpoints import Endpoint
from services.server.metrics import ServerMetrics
from services.server.outliers import CAUSES, EJECTED
from services.server.shards import OwnedShard
from services.server.turnstile import Turnstile
from tests.fakes import a_model

LABELS = {"colo": "ams", "model": "@cf/demo/echo"}
KEY = ("ams", "@cf/demo/echo")
DURATIONS = ("request_duration", "time_to_first_token", "time_per_output_token")


def a_shard(index: int) -> OwnedShard:
    """A shard with three endpoints of two permits each."""
    turnstile = Turnstile(queue_limit=9, rng=random.Random(1))
    turnstile.endpoints |= {
        "i": Endpoint(instance="i", address="h:1", concurrency=2, external=True),
        "j": Endpoint(instance="j", address="[::1]:2", concurrency=2, external=True),
        "k": Endpoint(instance="k", address="h:3", concurrency=2, in_flight=1),
    }
    return OwnedShard(
        model=a_model(LABELS["model"]), colo="ams", index=index, epoch=1, turnstile=turnstile
    )


def test_what_was_never_counted_is_named_all_the_same(
    registry: CollectorRegistry, metrics: ServerMetrics
) -> None:
    text = generate_latest(registry).decode()

    lines = [line for line in text.splitlines() if "_events_" not in line]  # those are of sinks
    names = [line.split()[2] for line in lines if line.startswith("# HELP")]
    counters = "errors requests turnstile_outcomes tokens infer_per_backend"
    counters += " infer_per_health_state retries ejections panics forwarded forward_failures"
    gauges = "total_permits available_permits permits_held_back queue_size full_fraction"
    gauges += " mean_used_permits mean_queue_size endpoints_removed external_endpoints"
    assert [each.removeprefix("constellation_server_") for each in names] == [
        *(f"{name}_total" for name in counters.split()),
        *(f"gen_ai_server_{name}_seconds" for name in DURATIONS),
        *gauges.split(),
        "queue_dropped_total",
    ]
    types = [line.split()[3] for line in lines if line.startswith("# TYPE")]
    assert types == ["counter"] * 11 + ["histogram"] * 3 + ["gauge"] * 9 + ["counter"]


def test_what_should_never_happen_is_shown_before_it_does(
    registry: CollectorRegistry, metrics: ServerMetrics
) -> None:
    metrics.watch(lambda: [a_shard(0)])
    metrics.panics[KEY] += 1

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"constellation_server_{name}_total", LABELS | labels)

    assert value("panics") == 1
    assert value("forward_failures") == 0
    assert [value("ejections", cause=each) for each in CAUSES] == [0] * 4


def test_counts_have_their_labels(registry: CollectorRegistry, metrics: ServerMetrics) -> None:
    metrics.requests[*KEY, 429] += 2
    metrics.errors[*KEY, 3040, 429] += 2
    metrics.turnstile[*KEY, "leased"] += 1
    for index in range(2):  # both shards of the model count in one place
        tally = metrics.durations.tally(a_shard(index))
        tally.ok += 2
        tally.queued += 1
        tally.tokens_in += 3
        tally.tokens_out += 4

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"constellation_server_{name}_total", LABELS | labels)

    assert value("requests", status="200") == 4
    assert value("requests", status="429") == 2
    assert value("errors", internal="3040", http="429") == 2
    assert value("turnstile_outcomes", outcome="leased") == 3
    assert value("turnstile_outcomes", outcome="queued") == 2
    assert value("tokens", direction="in") == 6
    assert value("tokens", direction="out") == 8


def test_inferences_are_counted_by_backend_and_by_health(
    registry: CollectorRegistry, metrics: ServerMetrics
) -> None:
    for index in range(2):
        tally = metrics.durations.tally(a_shard(index))
        tally.states["healthy"] += 2
        tally.states["trial"] += 1
        tally.states["ejected"] += 1

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"constellation_server_{name}_total", LABELS | labels)

    assert value("infer_per_backend", backend="triton") == 8
    assert value("infer_per_health_state", state="healthy") == 4
    assert value("infer_per_health_state", state="trial") == 2
    assert value("infer_per_health_state", state="panic") == 2


def test_shards_are_read_at_each_scrape(
    registry: CollectorRegistry, metrics: ServerMetrics
) -> None:
    shards = [a_shard(index) for index in range(2)]
    for shard in shards:
        shard.turnstile.endpoints["i"].condition.state = EJECTED
        shard.turnstile.endpoints["i"].state = "backoff"
        shard.window.add(total=4, available=4 * shard.index, queued=3)
    metrics.watch(lambda: shards)

    def value(name: str) -> float | None:
        return registry.get_sample_value(f"constellation_server_{name}", LABELS)

    names = ("total_permits", "available_permits", "endpoints_removed")
    assert [value(name) for name in names] == [8, 6, 2]  # of both shards of the model
    names = ("full_fraction", "mean_used_permits", "mean_queue_size")
    assert [value(name) for name in names] == [1, 4, 6]
    shards.clear()
    assert value("total_permits") is None


def test_what_the_turnstile_dropped_and_adaptive_limits_hold_back_is_shown(
    registry: CollectorRegistry, metrics: ServerMetrics
) -> None:
    shard = a_shard(0)
    shard.turnstile.dropped["time_up"] = 3
    shard.turnstile.endpoints["i"].fit(Permits(per_instance=8, adaptive=True))
    shard.turnstile.endpoints["i"].limit.limit = 2.0  # type: ignore[union-attr]
    metrics.watch(lambda: [shard])

    labels = LABELS | {"reason": "time_up"}
    assert registry.get_sample_value("constellation_server_queue_dropped_total", labels) == 3
    assert registry.get_sample_value("constellation_server_permits_held_back", LABELS) == 6


def test_external_endpoints_are_shown_one_by_one(
    registry: CollectorRegistry, metrics: ServerMetrics
) -> None:
    shard = a_shard(0)
    shard.turnstile.endpoints["i"].condition.state = EJECTED
    metrics.watch(lambda: [shard])

    def value(host: str, port: str) -> float | None:
        name = "constellation_server_external_endpoints"
        return registry.get_sample_value(name, {**LABELS, "host": host, "port": port})

    assert (value("h", "1"), value("::1", "2")) == (0, 1)


def test_external_apis_are_shown_by_their_hosts_too(
    registry: CollectorRegistry, metrics: ServerMetrics
) -> None:
    shard = a_shard(0)
    for name, path in (("a", "v1"), ("b", "v2")):
        shard.turnstile.endpoints[name] = Endpoint(
            instance=name, address=f"https://api.example/{path}", concurrency=1, external=True
        )
    shard.turnstile.endpoints["b"].condition.state = EJECTED
    metrics.watch(lambda: [shard])

    text = generate_latest(registry).decode()
    assert [line for line in text.splitlines() if "api.example" in line] == [
        "constellation_server_external_endpoints"
        '{colo="ams",host="api.example",model="@cf/demo/echo",port="443"} 0.0'
    ]


def test_what_the_queues_dropped_is_read_at_each_scrape(
    registry: CollectorRegistry, metrics: ServerMetrics
) -> None:
    shards = [a_shard(index) for index in range(2)]
    for shard in shards:
        shard.turnstile.dropped["time_up"] = 3
    metrics.watch(lambda: shards)

    labels = LABELS | {"reason": "time_up"}
    assert registry.get_sample_value("constellation_server_queue_dropped_total", labels) == 6
