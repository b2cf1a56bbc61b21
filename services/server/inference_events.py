"""What an event says of a call that has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from libs.common.envelope import InferRequest
from libs.common.errors import Aborted, RequestError
from libs.common.events.occurrences import Occurrence
from libs.common.events.values import Flag, InferenceEvent
from services.server.following import Following
from services.server.records import Record
from services.server.shards import OwnedShard
from services.server.turnstile import Lease

# Plain integers: `|` of two flags looks up a third one, for a microsecond.
STREAMED: Final = int(Flag.STREAMED)
BETA_MODEL: Final = int(Flag.BETA_MODEL)
EXTERNAL_ENDPOINT: Final = int(Flag.EXTERNAL_ENDPOINT)
QUEUED_IN_COLO: Final = int(Flag.QUEUED_IN_COLO)
UNIX_SOCKET: Final = int(Flag.UNIX_SOCKET)
CANCELLED: Final = int(Flag.CANCELLED)
FORWARDED: Final = int(Flag.FORWARDED)
BACKGROUND: Final = int(Flag.BACKGROUND)
IDEMPOTENCY_REPLAY: Final = int(Flag.IDEMPOTENCY_REPLAY)


def event_of(record: Record, colo: str) -> Occurrence:
    """Return the event; event.capnp says what each field means."""
    timings, usage, error = record.timings, record.usage, record.error
    units, request, first_part_at = usage.units, record.request, record.first_part_at
    is_begun = first_part_at > 0
    own = (  # as OWN names them
        record.arrived_ms,
        record.took_s * 1000,
        timings.forward_us / 1000,
        timings.permit_wait_us / 1000,
        (first_part_at - record.arrived) * 1000 if request.stream and is_begun else 0.0,
        timings.queue_us,
        timings.permit_wait_us,
        timings.forward_us,
        timings.first_part_us if is_begun else 0,
        usage.neurons,
        usage.tokens_in,
        usage.tokens_out,
        units.input_characters,
        units.pixels,
        units.steps,
        error.code if error else 0,
        units.audio_seconds,
        request.bytes_in,
        record.bytes_out,
    )
    return Occurrence(request.request_id, common=_common(record, colo), own=own)


def _common(record: Record, colo: str) -> tuple[object, ...]:
    """Return what calls have in common: the fields that COMMON names."""
    request, shard, lease, error = record.request, record.shard, record.lease, record.error
    endpoint = lease.endpoint if lease else None
    visited_colos = request.visited_colos
    if visited_colos:
        visited_colos = elsewhere(visited_colos, colo)
    hops = len(visited_colos)
    return (  # as COMMON names them
        request.account,
        request.model,
        request.task,
        request.finetune,
        request.adapter,
        int(request.request_source),  # an enum's own hash is slow
        request.client_request_id,
        request.attempt,
        request.continued_from,
        request.traceparent,
        error.http if error else 200,
        flags_of(request, shard=shard, lease=lease, queued=record.queued, error=error, hops=hops),
        colo,
        request.source_colo,
        visited_colos,
        hops,  # without this one
        endpoint.instance if endpoint else "",
        endpoint.address if endpoint else "",
        lease.because if lease else "",
        record.queue_size,
        request.cost,
        request.priority,
        request.shard,
        shard.epoch if shard is not None else request.shard_epoch,
    )


def event_of_follower(following: Following, colo: str) -> InferenceEvent:
    """Return the event of a call that waited for another's answer: it has used nothing."""
    request, outcome, error = following.request, following.outcome, following.error
    shard, visited_colos = following.shard, elsewhere(following.request.visited_colos, colo)
    first_part_at = following.first_part_at
    return InferenceEvent(
        account_id=request.account,
        model_id=request.model,
        request_id=request.request_id,
        timestamp_ms=following.arrived_ms,
        task=request.task,
        finetune=request.finetune,
        adapter=request.adapter,
        request_source=request.request_source,
        client_request_id=request.client_request_id,
        attempt=request.attempt,
        continued_from=request.continued_from,
        traceparent=request.traceparent,
        request_time_ms=following.took_s * 1000,
        time_to_first_token=(first_part_at - following.arrived) * 1000
        if request.stream and first_part_at
        else 0.0,
        bytes_in=request.bytes_in,
        bytes_out=following.bytes_out,
        error_code=error.code if error else 0,
        http_status=error.http if error else 200,
        flags=flags_of(request, shard=shard, error=error, hops=len(visited_colos))
        | (IDEMPOTENCY_REPLAY if outcome else 0),
        colo_id=colo,
        source_colo_id=request.source_colo,
        visited_colos=visited_colos,
        hops=len(visited_colos),
        endpoint=outcome.endpoint if outcome else "",  # where the answer was made
        chosen_because=outcome.chosen_because if outcome else "",
        local_queue_size=following.queue_size,
        cost=request.cost,
        priority=request.priority,
        shard=request.shard,
        shard_epoch=shard.epoch if shard is not None else request.shard_epoch,
    )


def flags_of(
    request: InferRequest,
    *,
    shard: OwnedShard | None,
    lease: Lease | None = None,
    queued: bool = False,
    error: type[RequestError] | None,
    hops: int,
) -> int:
    """Return the properties of a call, as bits of `Flag`."""
    flags = UNIX_SOCKET if request.over_unix_socket else 0
    if request.stream:
        flags |= STREAMED
    if shard and shard.model.listing.beta:
        flags |= BETA_MODEL
    if lease and lease.endpoint.external:
        flags |= EXTERNAL_ENDPOINT
    if queued or request.queued_in_colo:
        flags |= QUEUED_IN_COLO
    if error is Aborted:
        flags |= CANCELLED
    if hops:
        flags |= FORWARDED
    if request.background:
        flags |= BACKGROUND
    return flags


def elsewhere(visited_colos: Sequence[str], colo: str) -> tuple[str, ...]:
    """Return the colos that a call had been to before this one."""
    return tuple([each for each in visited_colos if each != colo])
