"""Envelopes as protobuf's objects: what takes all that the specification allows, and its time."""

from __future__ import annotations

from typing import Final

from libs.common.envelope import (
    NO_UNITS,
    InferRequest,
    Outcome,
    PayloadKind,
    RequestSource,
    TimeBounds,
    Timings,
    Units,
    Usage,
)
from libs.common.pb import inference_pb2 as pb

OWN: Final = (  # fields that hardly two requests have in common, as their ids and payloads
    "bytes_in",
    "client_request_id",
    "session",
    "idempotency_key",
    "traceparent",
    "tracestate",
)
SELDOM: Final = (  # fields that most requests do not have
    "content_type",
    "stream",
    "finetune",
    "adapter",
    "max_queue_ms",
    "reject_if_busy",
    "background",
    "preferred_colo",
    "retry_count",
    "attempt",
    "continued_from",
    "queued_in_colo",
    "shard",
    "falls_back",
)
KINDS: Final = {int(kind): kind for kind in PayloadKind}
SOURCES: Final = {0: RequestSource.REST} | {int(source): source for source in RequestSource}


def shared_message(request: InferRequest) -> pb.InferRequest:
    """Return what a request has in common with others."""
    message = pb.InferRequest()  # set field by field: keywords would cost three times as much
    message.account = request.account
    message.model = request.model
    message.task = request.task
    message.priority = request.priority
    message.source_colo = request.source_colo
    message.cost = request.cost
    message.payload_kind = request.payload_kind  # type: ignore[assignment]  # the same numbers
    message.request_source = request.request_source  # type: ignore[assignment]
    message.shard_epoch = request.shard_epoch
    _set_seldom(message, request, SELDOM)
    ours, bounds = message.time_bounds, request.time_bounds
    ours.first_part_ms = bounds.first_part_ms
    ours.idle_ms = bounds.idle_ms
    ours.total_ms = bounds.total_ms
    if request.visited_colos:
        message.visited_colos.extend(request.visited_colos)
    return message


def request_message(request: InferRequest) -> pb.InferRequest:
    """Return all of it but the payload."""
    message = shared_message(request)
    message.request_id = request.request_id
    _set_seldom(message, request, OWN)
    if request.prefix_hashes:
        message.prefix_hashes.extend(request.prefix_hashes)
    if request.units is not NO_UNITS:
        _set_units(message.units, request.units)
    return message


def request_of(message: pb.InferRequest) -> InferRequest:
    """Return the request; KeyError for a kind or source that is none."""
    bounds = message.time_bounds
    request = InferRequest(
        request_id=message.request_id,
        account=message.account,
        model=message.model,
        payload=message.payload,
    )
    request.task = message.task
    request.payload_kind = KINDS[message.payload_kind]
    request.cost = message.cost or 1
    request.priority = message.priority
    request.source_colo = message.source_colo
    request.shard_epoch = message.shard_epoch
    request.request_source = SOURCES[message.request_source]
    request.time_bounds = TimeBounds(
        first_part_ms=bounds.first_part_ms, idle_ms=bounds.idle_ms, total_ms=bounds.total_ms
    )
    if message.HasField("units"):
        request.units = _units_of(message.units)
    if message.prefix_hashes:
        request.prefix_hashes = tuple(message.prefix_hashes)
    if message.visited_colos:
        request.visited_colos = tuple(message.visited_colos)
    for name in (*OWN, *SELDOM):
        value = getattr(message, name)
        if value:
            setattr(request, name, value)
    return request


def set_outcome(message: pb.Outcome, occupancy: pb.Occupancy, outcome: Outcome) -> None:
    """Write how a call was served."""
    usage, timings = outcome.usage, outcome.timings
    used = message.usage
    used.tokens_in = usage.tokens_in
    used.tokens_out = usage.tokens_out
    used.neurons = usage.neurons
    if usage.units is not NO_UNITS:
        _set_units(used.units, usage.units)
    took = message.timings
    took.queue_us = timings.queue_us
    took.permit_wait_us = timings.permit_wait_us
    took.forward_us = timings.forward_us
    took.first_part_us = timings.first_part_us
    message.serving_colo = outcome.serving_colo
    message.endpoint = outcome.endpoint
    message.chosen_because = outcome.chosen_because
    message.hops = outcome.hops
    occupancy.free_permits = outcome.free_permits
    occupancy.queue_length = outcome.queue_length


def outcome_of(message: pb.Outcome, occupancy: pb.Occupancy) -> Outcome:
    """Return how a call was served."""
    usage, timings = message.usage, message.timings
    return Outcome(
        usage=Usage(
            tokens_in=usage.tokens_in,
            tokens_out=usage.tokens_out,
            units=_units_of(usage.units) if usage.HasField("units") else NO_UNITS,
            neurons=usage.neurons,
        ),
        timings=Timings(
            queue_us=timings.queue_us,
            permit_wait_us=timings.permit_wait_us,
            forward_us=timings.forward_us,
            first_part_us=timings.first_part_us,
        ),
        serving_colo=message.serving_colo,
        endpoint=message.endpoint,
        chosen_because=message.chosen_because,
        hops=message.hops,
        free_permits=occupancy.free_permits,
        queue_length=occupancy.queue_length,
    )


def _set_seldom(message: pb.InferRequest, request: InferRequest, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(request, name)
        if value:  # what is zero or empty is not written
            setattr(message, name, value)


def _set_units(message: pb.Units, units: Units) -> None:
    message.input_characters = units.input_characters
    if units.pixels or units.steps or units.audio_seconds:
        message.pixels = units.pixels
        message.steps = units.steps
        message.audio_seconds = units.audio_seconds


def _units_of(message: pb.Units) -> Units:
    return Units(
        input_characters=message.input_characters,
        pixels=message.pixels,
        steps=message.steps,
        audio_seconds=message.audio_seconds,
    )
