"""The nouns of a request: what travels from entry to a server, and back.

They are msgspec's structs, as frozen as dataclasses and made ten times faster: a frozen
dataclass pays for each field, and these are made for every request.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from msgspec import Struct


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


class TimeBounds(Struct, frozen=True, kw_only=True, gc=False):
    """Remaining milliseconds; 0 is no bound."""

    first_part_ms: int = 0
    idle_ms: int = 0
    total_ms: int = 0


class Units(Struct, frozen=True, kw_only=True, gc=False):
    """Priced units that only entry knows."""

    input_characters: int = 0
    pixels: int = 0
    steps: int = 0
    audio_seconds: float = 0.0


class InferRequest(Struct, frozen=True, kw_only=True, gc=False):
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


class Usage(Struct, frozen=True, kw_only=True, gc=False):
    """What a call used, and what that costs in neurons."""

    tokens_in: int = 0
    tokens_out: int = 0
    units: Units = Units()
    neurons: float = 0.0


class Timings(Struct, frozen=True, kw_only=True, gc=False):
    """Where a call's time went, in microseconds."""

    queue_us: int = 0
    permit_wait_us: int = 0
    forward_us: int = 0
    first_part_us: int = 0


class Outcome(Struct, frozen=True, kw_only=True, gc=False):
    """How a call was served; once per call, with its end."""

    usage: Usage = Usage()
    timings: Timings = Timings()
    serving_colo: str = ""
    endpoint: str = ""
    chosen_because: str = ""
    hops: int = 0
    free_permits: int = 0
    queue_length: int = 0


class InferReply(Struct, frozen=True, kw_only=True, gc=False):
    """The answer to one unary call."""

    payload: bytes
    content_type: str = ""
    outcome: Outcome = Outcome()


class Parts(Struct, frozen=True, gc=False):
    """What came together of a streamed answer between processes; the last has the outcome."""

    payloads: Sequence[bytes]
    outcome: Outcome | None = None
