"""Envelopes and answers to and from the bytes of their protobuf messages.

A payload is spliced in: written beside its message, not copied into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from libs.common.envelope import (
    NO_UNITS,
    InferReply,
    InferRequest,
    Outcome,
    Parts,
    PayloadKind,
    RequestSource,
    TimeBounds,
    Timings,
    Units,
    Usage,
)
from libs.common.pb import inference_pb2 as pb
from libs.common.varint import read_varint, varint

SELDOM: Final = (  # fields that most requests do not have
    "client_request_id",
    "content_type",
    "stream",
    "finetune",
    "adapter",
    "session",
    "max_queue_ms",
    "reject_if_busy",
    "background",
    "preferred_colo",
    "retry_count",
    "attempt",
    "continued_from",
    "idempotency_key",
    "queued_in_colo",
    "shard",
    "traceparent",
)
REQUEST_PAYLOAD = b"\x3a"  # field 7, as bytes
REPLY_PAYLOAD = b"\x0a"  # field 1
PARTS_PAYLOAD = b"\x0a"  # field 1 of StreamInferResponse
KINDS = {int(kind): kind for kind in PayloadKind}
SOURCES = {0: RequestSource.REST} | {int(source): source for source in RequestSource}

Chunks = Sequence[bytes]  # of one message, to be written one after the other


def request_to_chunks(request: InferRequest) -> Chunks:
    """Write a request."""
    message = pb.InferRequest()  # set field by field: keywords would cost three times as much
    message.request_id = request.request_id
    message.account = request.account
    message.model = request.model
    message.task = request.task
    message.priority = request.priority
    message.source_colo = request.source_colo
    message.cost = request.cost
    message.payload_kind = request.payload_kind  # type: ignore[assignment]  # the same numbers
    message.request_source = request.request_source  # type: ignore[assignment]
    message.shard_epoch = request.shard_epoch
    message.bytes_in = request.bytes_in
    for name in SELDOM:
        value = getattr(request, name)
        if value:  # what is zero or empty is not written
            setattr(message, name, value)
    ours, bounds = message.time_bounds, request.time_bounds
    ours.first_part_ms = bounds.first_part_ms
    ours.idle_ms = bounds.idle_ms
    ours.total_ms = bounds.total_ms
    if request.prefix_hashes:
        message.prefix_hashes.extend(request.prefix_hashes)
    if request.visited_colos:
        message.visited_colos.extend(request.visited_colos)
    if request.units is not NO_UNITS:
        _set_units(message.units, request.units)
    payload = request.payload
    return message.SerializeToString(), REQUEST_PAYLOAD, varint(len(payload)), payload


def request_from_bytes(data: bytes) -> InferRequest:
    """Read a request; ValueError for an envelope that cannot be right."""
    try:
        message = pb.InferRequest.FromString(data)
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
        request.bytes_in = message.bytes_in
        request.time_bounds = TimeBounds(
            first_part_ms=bounds.first_part_ms, idle_ms=bounds.idle_ms, total_ms=bounds.total_ms
        )
        if message.HasField("units"):
            request.units = _units_from_pb(message.units)
        if message.prefix_hashes:
            request.prefix_hashes = tuple(message.prefix_hashes)
        if message.visited_colos:
            request.visited_colos = tuple(message.visited_colos)
        for name in SELDOM:
            value = getattr(message, name)
            if value:
                setattr(request, name, value)
        return request
    except (DecodeError, KeyError) as error:
        raise ValueError(f"broken envelope: {error}") from error


def reply_to_chunks(reply: InferReply) -> Chunks:
    """Write an answer."""
    message = pb.InferResponse()
    if reply.content_type:
        message.content_type = reply.content_type
    _set_outcome(message.outcome, message.occupancy, reply.outcome)
    payload = reply.payload
    return REPLY_PAYLOAD, varint(len(payload)), payload, message.SerializeToString()


def reply_from_bytes(data: bytes) -> InferReply:
    """Read an answer; DecodeError for what is none."""
    message = pb.InferResponse.FromString(data)
    return InferReply(
        payload=message.payload,
        content_type=message.content_type,
        outcome=_outcome_from_pb(message.outcome, message.occupancy),
    )


def parts_to_bytes(payloads: Sequence[bytes], outcome: Outcome | None = None) -> bytes:
    """Write some parts of a stream; the last has the outcome."""
    chunks: list[bytes] = []
    for payload in payloads:
        chunks += (PARTS_PAYLOAD, varint(len(payload)), payload)
    if outcome is not None:
        message = pb.StreamInferResponse(last=True)
        _set_outcome(message.outcome, message.occupancy, outcome)
        chunks.append(message.SerializeToString())
    return b"".join(chunks)


def parts_from_messages(messages: Sequence[bytes]) -> Parts:
    """Join what came together of a stream; DecodeError for what is no part of one.

    Payloads come first, and mostly alone: they are cut out, and only the rest is decoded.
    """
    payloads: list[bytes] = []
    outcome = None
    for data in messages:
        at, end = 0, len(data)
        while at < end and data[at] == PARTS_PAYLOAD[0]:
            at = _cut(data, at + 1, payloads)
        if at < end:
            message = pb.StreamInferResponse.FromString(data[at:])
            payloads.extend(message.payloads)
            if message.last:
                outcome = _outcome_from_pb(message.outcome, message.occupancy)
    return Parts(payloads, outcome)


def _cut(data: bytes, at: int, payloads: list[bytes]) -> int:
    """Append the bytes whose length stands at `at`; return where they end."""
    try:
        size, at = read_varint(data, at)
    except IndexError:
        size = len(data)
    if at + size > len(data):
        raise DecodeError("a part is cut short")
    payloads.append(data[at : at + size])
    return at + size


def _set_outcome(message: pb.Outcome, occupancy: pb.Occupancy, outcome: Outcome) -> None:
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


def _outcome_from_pb(message: pb.Outcome, occupancy: pb.Occupancy) -> Outcome:
    usage, timings = message.usage, message.timings
    return Outcome(
        usage=Usage(
            tokens_in=usage.tokens_in,
            tokens_out=usage.tokens_out,
            units=_units_from_pb(usage.units) if usage.HasField("units") else NO_UNITS,
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


def _set_units(message: pb.Units, units: Units) -> None:
    message.input_characters = units.input_characters
    if units.pixels or units.steps or units.audio_seconds:
        message.pixels = units.pixels
        message.steps = units.steps
        message.audio_seconds = units.audio_seconds


def _units_from_pb(message: pb.Units) -> Units:
    return Units(
        input_characters=message.input_characters,
        pixels=message.pixels,
        steps=message.steps,
        audio_seconds=message.audio_seconds,
    )
