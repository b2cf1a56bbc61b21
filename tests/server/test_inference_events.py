"""Events: each value of a record lands in its field, each property in its bit."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from libs.common.catalog import Listing
from libs.common.envelope import RequestSource, Timings, Units, Usage
from libs.common.errors import Aborted, OutOfCapacity, RequestError
from libs.common.events.values import Flag, InferenceEvent
from services.server.endpoints import Endpoint
from services.server.inference_events import event_of
from services.server.records import Record
from services.server.shards import OwnedShard
from services.server.turnstile import Lease, Turnstile
from tests.fakes import a_model, a_request
from tests.server.looking import recorded

REQUEST = a_request(
    request_id="id",
    account="account",
    model="model",
    task="task",
    finetune="finetune",
    adapter="adapter",
    request_source=RequestSource.PAGES_BINDING,
    client_request_id="client id",
    attempt=11,
    continued_from=12,
    traceparent="trace",
    units=Units(input_characters=1),  # what is used counts, not what was asked
    bytes_in=25,
    source_colo="fra",
    visited_colos=("fra", "lhr"),
    cost=31,
    priority=8,
    shard=32,
    shard_epoch=33,
)


def a_lease(*, external: bool = False) -> Lease:
    endpoint = Endpoint(instance="instance", address="host:1", concurrency=1, external=external)
    return Lease(Turnstile(queue_limit=1, rng=random.Random(1)), endpoint, "emptier", 1)


def a_shard(*, beta: bool) -> OwnedShard:
    turnstile = Turnstile(queue_limit=1, rng=random.Random(1))
    model = a_model(listing=Listing(beta=beta))
    return OwnedShard(model=model, colo="ams", index=0, epoch=1, turnstile=turnstile)


def a_record(**changes: Any) -> Record:
    values = {"request": a_request(), "shard": None, "arrived": 1.0, "arrived_ms": 5}
    return recorded(**(values | changes))


def told(record: Record) -> InferenceEvent:
    return event_of(record, "ams").event()


EVERYTHING = InferenceEvent(
    account_id="account",
    model_id="model",
    request_id="id",
    timestamp_ms=61,
    task="task",
    finetune="finetune",
    adapter="adapter",
    request_source=2,
    client_request_id="client id",
    attempt=11,
    continued_from=12,
    traceparent="trace",
    request_time_ms=62.5,
    inference_time_ms=53.0,
    queuing_time_ms=52.0,
    queue_us=51,
    permit_wait_us=52_000,
    forward_us=53_000,
    first_part_us=54,
    neurons=43.5,
    tokens_in=41,
    tokens_out=42,
    input_characters=21,
    pixels=22,
    steps=23,
    audio_seconds=24.0,
    bytes_in=25,
    bytes_out=64,
    http_status=200,
    flags=64,
    colo_id="ams",
    source_colo_id="fra",
    visited_colos=("fra", "lhr"),
    hops=2,
    model_container_id="instance",
    endpoint="host:1",
    chosen_because="emptier",
    local_queue_size=63,
    cost=31,
    priority=8,
    shard=32,
    shard_epoch=33,
)


def test_each_value_lands_in_its_field() -> None:
    record = a_record(
        request=REQUEST,
        lease=a_lease(),
        usage=Usage(
            tokens_in=41,
            tokens_out=42,
            neurons=43.5,
            units=Units(input_characters=21, pixels=22, steps=23, audio_seconds=24.0),
        ),
        timings=Timings(queue_us=51, permit_wait_us=52_000, forward_us=53_000, first_part_us=54),
        first_part_at=1.000054,
        arrived_ms=61,
        took_s=0.0625,
        queue_size=63,
        bytes_out=64,
    )

    assert told(record) == EVERYTHING


@pytest.mark.parametrize(
    ("stream", "first_part_at", "milliseconds"),
    [(True, 1.25, 250.0), (True, 0.0, 0.0), (False, 1.25, 0.0)],
    ids=["a stream", "a stream without parts", "an answer"],
)
def test_only_a_stream_has_a_first_token(
    stream: bool, first_part_at: float, milliseconds: float
) -> None:
    record = a_record(request=a_request(stream=stream), first_part_at=first_part_at)

    assert told(record).time_to_first_token == milliseconds


def test_a_call_that_nobody_served_has_no_endpoint_but_its_error() -> None:
    event = told(a_record(error=OutOfCapacity))

    assert (event.endpoint, event.model_container_id, event.chosen_because) == ("", "", "")
    assert (event.error_code, event.http_status) == (OutOfCapacity.code, OutOfCapacity.http)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({}, 0),
        ({"request": a_request(stream=True)}, Flag.STREAMED),
        ({"shard": a_shard(beta=True)}, Flag.BETA_MODEL),
        ({"shard": a_shard(beta=False)}, 0),
        ({"lease": a_lease(external=True)}, Flag.EXTERNAL_ENDPOINT),
        ({"lease": a_lease()}, 0),
        ({"queued": True}, Flag.QUEUED_IN_COLO),
        ({"request": a_request(queued_in_colo="fra")}, Flag.QUEUED_IN_COLO),
        ({"request": a_request(over_unix_socket=True)}, Flag.UNIX_SOCKET),
        ({"error": Aborted}, Flag.CANCELLED),
        ({"error": RequestError}, 0),
        ({"request": a_request(visited_colos=("fra",))}, Flag.FORWARDED),
        ({"request": a_request(visited_colos=("ams",))}, 0),  # by another server of this colo
        ({"request": a_request(background=True)}, Flag.BACKGROUND),
    ],
)
def test_each_property_is_its_bit(changes: dict[str, Any], flag: int) -> None:
    assert told(a_record(**changes)).flags == flag


def test_an_event_never_changes() -> None:
    event = told(a_record())

    with pytest.raises(AttributeError):
        event.cost = 2  # type: ignore[misc]
    assert replace(event, cost=2).cost == 2
