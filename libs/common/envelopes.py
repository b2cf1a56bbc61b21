"""Envelopes and answers to and from their protobuf messages."""

from __future__ import annotations

from dataclasses import fields

from libs.common.envelope import (
    InferReply,
    InferRequest,
    Outcome,
    Part,
    PayloadKind,
    RequestSource,
    TimeBounds,
    Timings,
    Units,
    Usage,
)
from libs.common.pb import inference_pb2 as pb

NESTED = {
    "payload_kind",
    "prefix_hashes",
    "visited_colos",
    "time_bounds",
    "request_source",
    "units",
}
PLAIN = [each.name for each in fields(InferRequest) if each.name not in NESTED]


def request_to_pb(request: InferRequest) -> pb.InferRequest:
    """Write a request."""
    bounds = request.time_bounds
    message = pb.InferRequest(
        payload_kind=pb.PayloadKind.ValueType(request.payload_kind),
        prefix_hashes=request.prefix_hashes,
        visited_colos=request.visited_colos,
        time_bounds=pb.TimeBounds(
            first_part_ms=bounds.first_part_ms, idle_ms=bounds.idle_ms, total_ms=bounds.total_ms
        ),
        request_source=pb.RequestSource.ValueType(request.request_source),
        units=_units_to_pb(request.units),
    )
    for name in PLAIN:
        setattr(message, name, getattr(request, name))
    return message


def request_from_pb(message: pb.InferRequest) -> InferRequest:
    """Read a request; ValueError for an envelope that cannot be right."""
    bounds = message.time_bounds
    return InferRequest(
        payload_kind=PayloadKind(message.payload_kind),
        prefix_hashes=tuple(message.prefix_hashes),
        visited_colos=tuple(message.visited_colos),
        time_bounds=TimeBounds(
            first_part_ms=bounds.first_part_ms, idle_ms=bounds.idle_ms, total_ms=bounds.total_ms
        ),
        request_source=RequestSource(message.request_source or RequestSource.REST),
        units=_units_from_pb(message.units),
        **{**{name: getattr(message, name) for name in PLAIN}, "cost": message.cost or 1},
    )


def reply_to_pb(reply: InferReply) -> pb.InferResponse:
    """Write an answer."""
    return pb.InferResponse(
        payload=reply.payload,
        content_type=reply.content_type,
        outcome=_outcome_to_pb(reply.outcome),
        occupancy=_occupancy(reply.outcome),
    )


def reply_from_pb(message: pb.InferResponse) -> InferReply:
    """Read an answer."""
    return InferReply(
        payload=message.payload,
        content_type=message.content_type,
        outcome=_outcome_from_pb(message.outcome, message.occupancy),
    )


def part_to_pb(part: Part) -> pb.StreamInferResponse:
    """Write one part of a stream."""
    if part.outcome is None:
        return pb.StreamInferResponse(payload=part.payload)
    return pb.StreamInferResponse(
        payload=part.payload,
        last=True,
        outcome=_outcome_to_pb(part.outcome),
        occupancy=_occupancy(part.outcome),
    )


def part_from_pb(message: pb.StreamInferResponse) -> Part:
    """Read one part of a stream."""
    if not message.last:
        return Part(message.payload)
    return Part(message.payload, _outcome_from_pb(message.outcome, message.occupancy))


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
            units=_units_from_pb(usage.units),
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
    if units == Units():
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
