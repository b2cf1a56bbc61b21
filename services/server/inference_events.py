"""What an event says of a call that has ended."""

from __future__ import annotations

from libs.common.errors import Aborted
from libs.common.events.values import Flag, InferenceEvent
from services.server.records import Ending


def event_of(ending: Ending, *, colo: str, over_unix_socket: bool) -> InferenceEvent:
    """Return the event; event.capnp says what each field means."""
    request, timings, usage, error = ending.request, ending.timings, ending.usage, ending.error
    endpoint = ending.lease.endpoint if ending.lease else None
    return InferenceEvent(
        account_id=request.account,
        model_id=request.model,
        request_id=request.request_id,
        timestamp_ms=ending.arrived_ms,
        task=request.task,
        finetune=request.finetune,
        adapter=request.adapter,
        request_source=request.request_source,
        client_request_id=request.client_request_id,
        attempt=request.attempt,
        continued_from=request.continued_from,
        traceparent=request.traceparent,
        request_time_ms=ending.took_s * 1000,
        inference_time_ms=timings.forward_us / 1000,
        queuing_time_ms=timings.queue_us / 1000,
        time_to_first_token=ending.first_token_s * 1000 if request.stream else 0.0,
        queue_us=timings.queue_us,
        permit_wait_us=timings.permit_wait_us,
        forward_us=timings.forward_us,
        first_part_us=timings.first_part_us,
        neurons=usage.neurons,
        tokens_in=usage.tokens_in,
        tokens_out=usage.tokens_out,
        input_characters=request.units.input_characters,
        pixels=request.units.pixels,
        steps=request.units.steps,
        audio_seconds=request.units.audio_seconds,
        bytes_in=request.bytes_in,
        bytes_out=ending.bytes_out,
        error_code=error.code if error else 0,
        http_status=error.http if error else 200,
        flags=flags_of(ending, over_unix_socket=over_unix_socket),
        colo_id=colo,
        source_colo_id=request.source_colo,
        visited_colos=request.visited_colos,
        hops=len(request.visited_colos),
        model_container_id=endpoint.instance if endpoint else "",
        endpoint=endpoint.address if endpoint else "",
        chosen_because=ending.lease.because if ending.lease else "",
        local_queue_size=ending.queue_size,
        cost=request.cost,
        priority=request.priority,
        shard=request.shard,
        shard_epoch=request.shard_epoch,
    )


def flags_of(ending: Ending, *, over_unix_socket: bool) -> Flag:
    """Return the properties of the call, as bits."""
    request = ending.request
    flags = {
        Flag.STREAMED: request.stream,
        Flag.BETA_MODEL: ending.shard is not None and ending.shard.model.listing.beta,
        Flag.EXTERNAL_ENDPOINT: ending.lease is not None and ending.lease.endpoint.external,
        Flag.QUEUED_IN_COLO: ending.queued,
        Flag.UNIX_SOCKET: over_unix_socket,
        Flag.CANCELLED: isinstance(ending.error, Aborted),
        Flag.FORWARDED: bool(request.visited_colos),
        Flag.BACKGROUND: request.background,
    }
    return Flag(sum(flag for flag, is_set in flags.items() if is_set))
