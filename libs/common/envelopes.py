"""Envelopes and answers to and from the bytes of their protobuf messages.

A payload is spliced in: written beside its message, not copied into it.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from msgspec.structs import fields

from libs.common.envelope import (
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
from libs.common.varint import varint

ALWAYS = {"request_id", "account", "model", "task", "priority", "source_colo", "cost"}
ALWAYS |= {"payload_kind", "request_source", "shard_epoch", "bytes_in"}
OTHERWISE = {"payload", "time_bounds", "units", "prefix_hashes", "visited_colos"}
SELDOM = [
    (each.name, each.default)
    for each in fields(InferRequest)
    if each.name not in ALWAYS | OTHERWISE
]
REQUEST_PAYLOAD = b"\x3a"  # field 7, as bytes
REPLY_PAYLOAD = b"\x0a"  # field 1
KINDS = {int(kind): kind for kind in PayloadKind}
SOURCES = {0: RequestSource.REST} | {int(source): source for source in RequestSource}
NO_UNITS = Units()

Chunks = Sequence[bytes]  # of one message, to be written one after the other


def request_to_chunks(request: InferRequest) -> Chunks:
    """Write a request."""
    bounds = request.time_bounds
    message = pb.InferRequest(
        request_id=request.request_id,
        account=request.account,
        model=request.model,
        task=request.task,
        priority=request.priority,
        source_colo=request.source_colo,
        cost=request.cost,
        payload_kind=pb.PayloadKind.ValueType(request.payload_kind),
        request_source=pb.RequestSource.ValueType(request.request_source),
        shard_epoch=request.shard_epoch,
        bytes_in=request.bytes_in,
        prefix_hashes=request.prefix_hashes,
        visited_colos=request.visited_colos,
        time_bounds=pb.TimeBounds(
            first_part_ms=bounds.first_part_ms, idle_ms=bounds.idle_ms, total_ms=bounds.total_ms
        ),
        units=_units_to_pb(request.units),
    )
    for name, default in SELDOM:
        value = getattr(request, name)
        if value != default:
            setattr(message, name, value)
    payload = request.payload
    return message.SerializeToString(), REQUEST_PAYLOAD, varint(len(payload)), payload


def request_from_bytes(data: bytes) -> InferRequest:
    """Read a request; ValueError for an envelope that cannot be right."""
    try:
        message = pb.InferRequest.FromString(data)
        bounds = message.time_bounds
        return InferRequest(
            request_id=message.request_id,
            client_request_id=message.client_request_id,
            account=message.account,
            model=message.model,
            task=message.task,
            payload=message.payload,
            payload_kind=KINDS[message.payload_kind],
            content_type=message.content_type,
            stream=message.stream,
            finetune=message.finetune,
            adapter=message.adapter,
            session=message.session,
            prefix_hashes=tuple(message.prefix_hashes),
            cost=message.cost or 1,
            priority=message.priority,
            max_queue_ms=message.max_queue_ms,
            reject_if_busy=message.reject_if_busy,
            background=message.background,
            preferred_colo=message.preferred_colo,
            time_bounds=TimeBounds(
                first_part_ms=bounds.first_part_ms,
                idle_ms=bounds.idle_ms,
                total_ms=bounds.total_ms,
            ),
            retry_count=message.retry_count,
            attempt=message.attempt,
            continued_from=message.continued_from,
            idempotency_key=message.idempotency_key,
            source_colo=message.source_colo,
            visited_colos=tuple(message.visited_colos),
            queued_in_colo=message.queued_in_colo,
            shard=message.shard,
            shard_epoch=message.shard_epoch,
            request_source=SOURCES[message.request_source],
            traceparent=message.traceparent,
            units=_units_from_pb(message.units) if message.HasField("units") else NO_UNITS,
            bytes_in=message.bytes_in,
        )
    except (DecodeError, KeyError) as error:
        raise ValueError(f"broken envelope: {error}") from error


def reply_to_chunks(reply: InferReply) -> Chunks:
    """Write an answer."""
    message = pb.InferResponse(
        content_type=reply.content_type,
        outcome=_outcome_to_pb(reply.outcome),
        occupancy=_occupancy(reply.outcome),
    )
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


def parts_to_bytes(parts: Parts) -> bytes:
    """Write some parts of a stream."""
    if parts.outcome is None:
        return pb.StreamInferResponse(payloads=parts.payloads).SerializeToString()
    return pb.StreamInferResponse(
        payloads=parts.payloads,
        last=True,
        outcome=_outcome_to_pb(parts.outcome),
        occupancy=_occupancy(parts.outcome),
    ).SerializeToString()


def parts_from_messages(messages: Sequence[bytes]) -> Parts:
    """Join what came together of a stream; DecodeError for what is no part of one."""
    payloads: list[bytes] = []
    outcome = None
    for data in messages:
        message = pb.StreamInferResponse.FromString(data)
        payloads.extend(message.payloads)
        if message.last:
            outcome = _outcome_from_pb(message.outcome, message.occupancy)
    return Parts(payloads, outcome)


def _occupancy(outcome: Outcome) -> pb.Occupancy:
    return pb.Occupancy(free_permits=outcome.free_permits, queue_length=outcome.queue_length)


def _outcome_to_pb(outcome: Outcome) -> pb.Outcome:
    usage, timings = outcome.usage, outcome.timings
    return pb.Outcome(
        usage=pb.Usage(
            tokens_in=usage.tokens_in,
            tokens_out=usage.tokens_out,
            units=_units_to_pb(usage.units),
            neurons=usage.neurons,
        ),
        timings=pb.Timings(
            queue_us=timings.queue_us,
            permit_wait_us=timings.permit_wait_us,
            forward_us=timings.forward_us,
            first_part_us=timings.first_part_us,
        ),
        serving_colo=outcome.serving_colo,
        endpoint=outcome.endpoint,
        chosen_because=outcome.chosen_because,
        hops=outcome.hops,
    )


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


def _units_to_pb(units: Units) -> pb.Units | None:
    if units is NO_UNITS or units == NO_UNITS:
        return None
    return pb.Units(
        input_characters=units.input_characters,
        pixels=units.pixels,
        steps=units.steps,
        audio_seconds=units.audio_seconds,
    )


def _units_from_pb(message: pb.Units) -> Units:
    return Units(
        input_characters=message.input_characters,
        pixels=message.pixels,
        steps=message.steps,
        audio_seconds=message.audio_seconds,
    )
