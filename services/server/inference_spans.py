"""What the spans of a call say that has ended: its wait for a permit, and its time in the backend.

Names and attributes are OpenTelemetry's conventions for HTTP and for generative AI, where they
have any; ours begin with `constellation`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from libs.common.spans import Attribute
from services.server.records import Record
from services.server.traces import CallTrace

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
    ended, lease, request = record.arrived + record.took_s, record.lease, record.request
    about: dict[str, Attribute] = {
        "constellation.request_id": request.request_id,
        "constellation.attempt": request.attempt,
        "constellation.model": request.model,
        "constellation.shard": request.shard,
    }
    waited: dict[str, Attribute] = {**about, "constellation.queue_length": record.queue_size}
    if lease is None:
        trace.queued(ended, record.error, waited, is_last=True)
        return
    trace.queued(record.leased_at, None, waited, is_last=False)
    operation = OPERATIONS.get(request.task, request.task)
    trace.ran(
        f"{operation} {request.model}",
        record.leased_at,
        ended,
        record.error,
        {**about, "gen_ai.operation.name": operation, **_of_backend(record)},
    )


def _of_backend(record: Record) -> dict[str, Attribute]:
    """Return what is said of the backend and of its answer; what there is none of is left out."""
    lease, request, usage, shard = record.lease, record.request, record.usage, record.shard
    assert lease is not None
    assert shard is not None
    model, (host, port) = shard.model, _parted(lease.endpoint.address)
    first_part_s = record.first_part_at - record.leased_at if record.first_part_at else 0.0
    is_http = model.backend.kind == "openai_http"
    told: dict[str, Attribute | None] = {
        "gen_ai.provider.name": model.backend.kind,
        "gen_ai.request.model": request.model,
        "gen_ai.request.stream": request.stream,
        "gen_ai.response.model": model.served_as,
        "gen_ai.response.time_to_first_chunk": first_part_s * request.stream,
        "gen_ai.usage.input_tokens": usage.tokens_in,
        "gen_ai.usage.output_tokens": usage.tokens_out,
        "server.address": host,
        "server.port": port,
        "http.response.status_code": 200 if is_http and record.error is None else None,
        "constellation.instance": lease.endpoint.instance,
        "constellation.chosen_because": lease.because,
        "constellation.finetune": request.finetune,
        "constellation.continued_from": request.continued_from,
    }
    return {name: value for name, value in told.items() if value}


def _parted(address: str) -> tuple[str | None, int | None]:
    """Return host and port of an endpoint's address, which may be a URL."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    return parts.hostname, parts.port
