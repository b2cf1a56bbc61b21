"""What an event says of a call that has ended."""

from __future__ import annotations

from libs.common.envelope import InferRequest, Outcome
from libs.common.errors import Aborted
from libs.common.events.values import Flag, InferenceEvent
from services.server.records import Record

# Plain integers: `|` of two flags looks up a third one, for a microsecond.
STREAMED = int(Flag.STREAMED)
BETA_MODEL = int(Flag.BETA_MODEL)
EXTERNAL_ENDPOINT = int(Flag.EXTERNAL_ENDPOINT)
QUEUED_IN_COLO = int(Flag.QUEUED_IN_COLO)
UNIX_SOCKET = int(Flag.UNIX_SOCKET)
CANCELLED = int(Flag.CANCELLED)
FORWARDED = int(Flag.FORWARDED)
BACKGROUND = int(Flag.BACKGROUND)
IDEMPOTENCY_REPLAY = int(Flag.IDEMPOTENCY_REPLAY)


def event_of(record: Record, colo: str, over_unix_socket: bool) -> InferenceEvent:
    """Return the event; event.capnp says what each field means."""
    request, timings, usage, error = record.request, record.timings, record.usage, record.error
    lease, units, visited_colos = record.lease, request.units, request.visited_colos
    if visited_colos:
        visited_colos = tuple([each for each in visited_colos if each != colo])
    endpoint = lease.endpoint if lease else None
    queue_us, forward_us = timings.queue_us, timings.forward_us
    streamed = request.stream and record.first_part_at
    return InferenceEvent(
        account_id=request.account,
        model_id=request.model,
        request_id=request.request_id,
        timestamp_ms=record.arrived_ms,
        task=request.task,
        finetune=request.finetune,
        adapter=request.adapter,
        request_source=request.request_source,
        client_request_id=request.client_request_id,
        attempt=request.attempt,
        continued_from=request.continued_from,
        traceparent=request.traceparent,
        request_time_ms=record.took_s * 1000,
        inference_time_ms=forward_us / 1000,
        queuing_time_ms=queue_us / 1000,
        time_to_first_token=(record.first_part_at - record.arrived) * 1000 if streamed else 0.0,
        queue_us=queue_us,
        permit_wait_us=timings.permit_wait_us,
        forward_us=forward_us,
        first_part_us=timings.first_part_us,
        neurons=usage.neurons,
        tokens_in=usage.tokens_in,
        tokens_out=usage.tokens_out,
        input_characters=units.input_characters,
        pixels=units.pixels,
        steps=units.steps,
        audio_seconds=units.audio_seconds,
        bytes_in=request.bytes_in,
        bytes_out=record.bytes_out,
        error_code=error.code if error else 0,
        http_status=error.http if error else 200,
        flags=flags_of(record, over_unix_socket, len(visited_colos)),
        colo_id=colo,
        source_colo_id=request.source_colo,
        visited_colos=visited_colos,
        hops=len(visited_colos),  # without this one
        model_container_id=endpoint.instance if endpoint else "",
        endpoint=endpoint.address if endpoint else "",
        chosen_because=lease.because if lease else "",
        local_queue_size=record.queue_size,
        cost=request.cost,
        priority=request.priority,
        shard=request.shard,
        shard_epoch=request.shard_epoch,
    )


def replay_of(request: InferRequest, outcome: Outcome, colo: str, unix_ms: int) -> InferenceEvent:
    """Return the event of a call that got another's answer: it has used nothing."""
    return InferenceEvent(
        account_id=request.account,
        model_id=request.model,
        request_id=request.request_id,
        timestamp_ms=unix_ms,
        task=request.task,
        finetune=request.finetune,
        adapter=request.adapter,
        request_source=request.request_source,
        client_request_id=request.client_request_id,
        attempt=request.attempt,
        traceparent=request.traceparent,
        bytes_in=request.bytes_in,
        http_status=200,
        flags=IDEMPOTENCY_REPLAY | (STREAMED if request.stream else 0),
        colo_id=colo,
        source_colo_id=request.source_colo,
        endpoint=outcome.endpoint,
        priority=request.priority,
        shard=request.shard,
        shard_epoch=request.shard_epoch,
    )


def flags_of(record: Record, over_unix_socket: bool, hops: int) -> int:
    """Return the properties of the call, as bits of `Flag`."""
    request, shard, lease = record.request, record.shard, record.lease
    flags = UNIX_SOCKET if over_unix_socket else 0
    if request.stream:
        flags |= STREAMED
    if shard and shard.model.listing.beta:
        flags |= BETA_MODEL
    if lease and lease.endpoint.external:
        flags |= EXTERNAL_ENDPOINT
    if record.queued or request.queued_in_colo:
        flags |= QUEUED_IN_COLO
    if record.error is Aborted:
        flags |= CANCELLED
    if hops:
        flags |= FORWARDED
    if request.background:
        flags |= BACKGROUND
    return flags
