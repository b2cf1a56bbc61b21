"""The nouns of a request: what travels from entry to a server, and back."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

from libs.common.values import Value


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


class TimeBounds(Value):
    """Remaining milliseconds; 0 is no bound."""

    __slots__ = ("first_part_ms", "idle_ms", "total_ms")

    def __init__(
        self,
        *,
        first_part_ms: int = 0,
        idle_ms: int = 0,
        total_ms: int = 0,
    ) -> None:
        self.first_part_ms = first_part_ms
        self.idle_ms = idle_ms
        self.total_ms = total_ms


class Units(Value):
    """Priced units that only entry knows."""

    __slots__ = ("audio_seconds", "input_characters", "pixels", "steps")

    def __init__(
        self,
        *,
        input_characters: int = 0,
        pixels: int = 0,
        steps: int = 0,
        audio_seconds: float = 0.0,
    ) -> None:
        self.input_characters = input_characters
        self.pixels = pixels
        self.steps = steps
        self.audio_seconds = audio_seconds


NO_BOUNDS: Final = TimeBounds()
NO_UNITS: Final = Units()
_TENSORS: Final = PayloadKind.TENSORS
_REST: Final = RequestSource.REST


class InferRequest(Value):
    """One call of one model: the envelope, and the payload in it.

    Whoever makes one sets what differs from the defaults, before it goes anywhere.
    """

    payload_kind: PayloadKind = _TENSORS
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
    time_bounds: TimeBounds = NO_BOUNDS
    retry_count: int = 0
    attempt: int = 0
    continued_from: int = 0
    idempotency_key: str = ""
    source_colo: str = ""
    visited_colos: tuple[str, ...] = ()
    queued_in_colo: str = ""
    shard: int = 0
    falls_back: bool = False
    shard_epoch: int = 0
    request_source: RequestSource = _REST
    traceparent: str = ""
    tracestate: str = ""
    units: Units = NO_UNITS
    bytes_in: int = 0
    over_unix_socket: bool = False  # said by who took it from one; it does not travel

    def __init__(self, *, request_id: str, account: str, model: str, payload: bytes) -> None:
        self.request_id = request_id
        self.account = account
        self.model = model
        self.payload = payload

    def copy(self) -> InferRequest:
        """Return another one that says the same."""
        made = InferRequest(
            request_id=self.request_id,
            account=self.account,
            model=self.model,
            payload=self.payload,
        )
        made.payload_kind = self.payload_kind
        made.content_type = self.content_type
        made.task = self.task
        made.stream = self.stream
        made.client_request_id = self.client_request_id
        made.finetune = self.finetune
        made.adapter = self.adapter
        made.session = self.session
        made.prefix_hashes = self.prefix_hashes
        made.cost = self.cost
        made.priority = self.priority
        made.max_queue_ms = self.max_queue_ms
        made.reject_if_busy = self.reject_if_busy
        made.background = self.background
        made.preferred_colo = self.preferred_colo
        made.time_bounds = self.time_bounds
        made.retry_count = self.retry_count
        made.attempt = self.attempt
        made.continued_from = self.continued_from
        made.idempotency_key = self.idempotency_key
        made.source_colo = self.source_colo
        made.visited_colos = self.visited_colos
        made.queued_in_colo = self.queued_in_colo
        made.shard = self.shard
        made.falls_back = self.falls_back
        made.shard_epoch = self.shard_epoch
        made.request_source = self.request_source
        made.traceparent = self.traceparent
        made.tracestate = self.tracestate
        made.units = self.units
        made.bytes_in = self.bytes_in
        made.over_unix_socket = self.over_unix_socket
        return made


class Usage(Value):
    """What a call used, and what that costs in neurons."""

    __slots__ = ("neurons", "tokens_in", "tokens_out", "units")

    def __init__(
        self,
        *,
        tokens_in: int = 0,
        tokens_out: int = 0,
        units: Units = NO_UNITS,
        neurons: float = 0.0,
    ) -> None:
        self.tokens_in = tokens_in
        self.tokens_out = tokens_out
        self.units = units
        self.neurons = neurons


class Timings(Value):
    """Where a call's time went, in microseconds."""

    __slots__ = ("first_part_us", "forward_us", "permit_wait_us", "queue_us")

    def __init__(
        self,
        *,
        queue_us: int = 0,
        permit_wait_us: int = 0,
        forward_us: int = 0,
        first_part_us: int = 0,
    ) -> None:
        self.queue_us = queue_us
        self.permit_wait_us = permit_wait_us
        self.forward_us = forward_us
        self.first_part_us = first_part_us


NO_USAGE: Final = Usage()
NO_TIMINGS: Final = Timings()


class Outcome(Value):
    """How a call was served; once per call, with its end."""

    __slots__ = (
        "chosen_because",
        "endpoint",
        "free_permits",
        "hops",
        "queue_length",
        "serving_colo",
        "timings",
        "usage",
    )

    def __init__(
        self,
        *,
        usage: Usage = NO_USAGE,
        timings: Timings = NO_TIMINGS,
        serving_colo: str = "",
        endpoint: str = "",
        chosen_because: str = "",
        hops: int = 0,
        free_permits: int = 0,
        queue_length: int = 0,
    ) -> None:
        self.usage = usage
        self.timings = timings
        self.serving_colo = serving_colo
        self.endpoint = endpoint
        self.chosen_because = chosen_because
        self.hops = hops
        self.free_permits = free_permits
        self.queue_length = queue_length


NO_OUTCOME: Final = Outcome()


class InferReply(Value):
    """The answer to one unary call."""

    __slots__ = ("content_type", "outcome", "payload")

    def __init__(
        self,
        *,
        payload: bytes,
        content_type: str = "",
        outcome: Outcome = NO_OUTCOME,
    ) -> None:
        self.payload = payload
        self.content_type = content_type
        self.outcome = outcome


class Parts(Value):
    """What came together of a streamed answer between processes; the last has the outcome."""

    __slots__ = ("outcome", "payloads")

    def __init__(
        self,
        payloads: Sequence[bytes],
        outcome: Outcome | None = None,
    ) -> None:
        self.payloads = payloads
        self.outcome = outcome
