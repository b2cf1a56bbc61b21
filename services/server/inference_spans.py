"""What the spans of a call say that has ended: its wait for a permit, and its time in the backend.

Names and attributes are OpenTelemetry's conventions for HTTP and for generative AI, where they
have any; ours begin with `constellation`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from libs.common.spans import Attribute, Attributes
from services.server.records import Record
from services.server.traces import CallTrace, Traces

OPERATIONS: Final = {  # tasks that OpenTelemetry has a word for
    "text-generation": "chat",
    "text-embeddings": "embeddings",
    "multimodal-embeddings": "embeddings",
    "text-to-image": "generate_content",
    "text-to-speech": "generate_content",
    "image-to-text": "generate_content",
    "image-text-to-text": "generate_content",
}


def tell_spans(record: Record, trace: CallTrace) -> None:
    """Hand on the spans of a call that has ended here."""
    ended, lease, request, traces = (
        record.arrived + record.took_s,
        record.lease,
        record.request,
        trace.traces,
    )
    own: dict[str, Attribute] = {"constellation.request_id": request.request_id}
    if request.attempt:
        own["constellation.attempt"] = request.attempt
    key = request.model, request.shard
    shared = traces.known.get(key) or traces.learn(
        key, {"constellation.model": request.model, "constellation.shard": request.shard}
    )
    waited = {**own, "constellation.queue_length": record.queue_size}
    if lease is None:
        trace.queued(ended, record.error, waited, shared, is_last=True)
        return
    trace.queued(record.leased_at, None, waited, shared, is_last=False)
    usage = record.usage
    if usage.tokens_in:
        own["gen_ai.usage.input_tokens"] = usage.tokens_in
    if usage.tokens_out:
        own["gen_ai.usage.output_tokens"] = usage.tokens_out
    if request.stream and record.first_part_at:
        own["gen_ai.response.time_to_first_chunk"] = record.first_part_at - record.leased_at
    if request.continued_from:
        own["constellation.continued_from"] = request.continued_from
    operation = OPERATIONS.get(request.task, request.task)
    trace.ran(
        f"{operation} {request.model}",
        record.leased_at,
        ended,
        record.error,
        own,
        _of_backend(record, operation, traces),
    )


def _of_backend(record: Record, operation: str, traces: Traces) -> Attributes:
    """Return what calls have in common that run alike."""
    lease, request, shard = record.lease, record.request, record.shard
    assert lease is not None
    assert shard is not None
    model, endpoint = shard.model, lease.endpoint
    went_well = record.error is None
    key = (
        *(request.model, model.served_as, endpoint.instance, endpoint.address),
        *(lease.because, request.shard, request.stream, request.finetune, went_well),
    )
    known = traces.known.get(key)
    if known is not None:
        return known
    host, port = _parted(endpoint.address)
    is_http = model.backend.kind == "openai_http"
    return traces.learn(
        key,
        {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": model.backend.kind,
            "gen_ai.request.model": request.model,
            "gen_ai.request.stream": request.stream,
            "gen_ai.response.model": model.served_as,
            "server.address": host or "",
            "server.port": port or "",
            "http.response.status_code": 200 if is_http and went_well else "",
            "constellation.model": request.model,
            "constellation.shard": request.shard,
            "constellation.instance": endpoint.instance,
            "constellation.chosen_because": lease.because,
            "constellation.finetune": request.finetune,
        },
    )


def _parted(address: str) -> tuple[str | None, int | None]:
    """Return host and port of an endpoint's address, which may be a URL."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    return parts.hostname, parts.port
