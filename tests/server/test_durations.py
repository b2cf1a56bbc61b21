"""How long calls take, by the names of OpenTelemetry's conventions."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from libs.common.envelope import Usage
from libs.common.errors import ModelFailed
from services.server.metrics import ServerMetrics
from services.server.service import InferenceServer
from tests.fakes import COLO, MODEL, a_request
from tests.server.looking import recorded

LABELS = {
    "colo": COLO,
    "gen_ai_operation_name": "text_completion",
    "gen_ai_provider_name": "constellation",
    "gen_ai_request_model": MODEL,
}


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"gen_ai_server_{name}", LABELS | labels)


def test_a_streamed_call_has_a_first_token_and_those_after_it(
    registry: CollectorRegistry, metrics: ServerMetrics, server: InferenceServer
) -> None:
    (shard,) = server.shards
    record = recorded(request=a_request(stream=True), shard=shard, arrived=10.0)
    record.first_part_at, record.took_s = 10.03, 1.02
    record.usage = Usage(tokens_out=11)

    metrics.durations.took(record)

    def bucket(name: str, le: str) -> float | None:
        return value(registry, f"{name}_seconds_bucket", le=le)

    assert [bucket("time_to_first_token", le) for le in ("0.02", "0.04", "+Inf")] == [0, 1, 1]
    assert [bucket("time_per_output_token", le) for le in ("0.075", "0.1")] == [0, 1]
    assert value(registry, "time_per_output_token_seconds_sum") == pytest.approx(0.099)
    of_request = [
        value(registry, "request_duration_seconds_bucket", le=le, error_type="")
        for le in ("0.64", "1.28")
    ]
    assert of_request == [0, 1]


def test_one_answer_has_a_duration_alone(
    registry: CollectorRegistry, metrics: ServerMetrics, server: InferenceServer
) -> None:
    (shard,) = server.shards
    record = recorded(request=a_request(), shard=shard)
    record.took_s, record.first_part_at, record.usage = 0.5, 0.5, Usage(tokens_out=9)

    metrics.durations.took(record)

    assert value(registry, "request_duration_seconds_count", error_type="") == 1
    assert value(registry, "time_to_first_token_seconds_count") == 0
    assert value(registry, "time_per_output_token_seconds_count") == 0


def test_a_failed_call_is_counted_by_its_error(
    registry: CollectorRegistry, metrics: ServerMetrics, server: InferenceServer
) -> None:
    (shard,) = server.shards
    record = recorded(request=a_request(stream=True), shard=shard)
    record.error, record.took_s = ModelFailed, 0.5

    metrics.durations.took(record)
    metrics.durations.took(recorded(request=a_request(), shard=None))  # was never ours

    labels = {"error_type": "model_failed"}
    assert value(registry, "request_duration_seconds_count", **labels) == 1
    assert value(registry, "request_duration_seconds_sum", **labels) == 0.5
    assert value(registry, "request_duration_seconds_count", error_type="") == 0
