"""The nouns of a request: what travels from entry to a server, and back."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class PayloadKind(enum.IntEnum):
    """In which dialect a payload is written; numbered as in the proto."""

    TENSORS = 1
    HTTP_BODY = 2
    RAW = 3


class RequestSource(enum.IntEnum):
    """How a request came to entry; numbered as in the proto."""

    WORKER_BINDING = 1
    PAGES_BINDING = 2
    REST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeBounds:
    """Remaining milliseconds; 0 is no bound."""

    first_part_ms: int = 0
    idle_ms: int = 0
    total_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Priced units that only entry knows."""

    input_characters: int = 0
    pixels: int = 0
    steps: int = 0
    audio_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """One call of one model: the envelope, and the payload in it."""

    request_id: str
    account: str
    model: str
    payload: bytes
    payload_kind: PayloadKind = PayloadKind.TENSORS
    content_type: str = ""
    task: str = ""
    stream: bool = False
    client_request_id: str = ""
    finetune: str = ""
    adapter: str = ""
    session: str = ""
    prefix_hashes: tuple[int, ...] = ()
    cost: int = 1
    priority: int = 5
    max_queue_ms: int = 0
    reject_if_busy: bool = False
    background: bool = False
    preferred_colo: str = ""
    time_bounds: TimeBounds = TimeBounds()
    retry_count: int = 0
    attempt: int = 0
    continued_from: int = 0
    idempotency_key: str = ""
    source_colo: str = ""
    visited_colos: tuple[str, ...] = ()
    queued_in_colo: str = ""
    shard: int = 0
    shard_epoch: int = 0
    request_source: RequestSource = RequestSource.REST
    traceparent: str = ""
    units: Units = Units()
    bytes_in: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a call used, and what that costs in neurons."""

    tokens_in: int = 0
    tokens_out: int = 0
    units: Units = Units()
    neurons: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where a call's time went, in microseconds."""

    queue_us: int = 0
    permit_wait_us: int = 0
    forward_us: int = 0
    first_part_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call was served; once per call, with its end."""

    usage: Usage = Usage()
    timings: Timings = Timings()
    serving_colo: str = ""
    endpoint: str = ""
    chosen_because: str = ""
    hops: int = 0
    free_permits: int = 0
    queue_length: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InferReply:
    """The answer to one unary call."""

    payload: bytes
    content_type: str = ""
    outcome: Outcome = field(default_factory=Outcome)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a streamed answer; the last one is empty and has the outcome."""

    payload: bytes
    outcome: Outcome | None = None
