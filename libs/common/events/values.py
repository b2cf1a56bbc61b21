"""What an event says: plain values, on both sides of the wire.

They are msgspec's structs, made for every request: a frozen dataclass pays for each field.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import TypeAlias

from msgspec import Struct

Boot: TypeAlias = tuple[str, int]  # a server's name, and the epoch of its start


class Flag(IntFlag):
    """Properties of a request; the bits are those of event.capnp."""

    STREAMED = 1
    BETA_MODEL = 2
    EXTERNAL_ENDPOINT = 4
    QUEUED_IN_COLO = 8
    UNIX_SOCKET = 16
    CANCELLED = 32
    FORWARDED = 64
    BACKGROUND = 128
    IDEMPOTENCY_REPLAY = 256


class EventType(IntEnum):
    """What a lifecycle event tells of."""

    UNSPECIFIED = 0
    ENDPOINT = 1


class InferenceEvent(Struct, frozen=True, kw_only=True, gc=False):
    """One attempt of one request; event.capnp says what each field means."""

    account_id: str
    model_id: str
    request_id: str
    timestamp_ms: int
    task: str = ""
    finetune: str = ""
    adapter: str = ""
    request_source: int = 0  # a RequestSource of the envelope, or 0
    client_request_id: str = ""
    attempt: int = 0
    continued_from: int = 0
    traceparent: str = ""
    request_time_ms: float = 0.0
    inference_time_ms: float = 0.0
    queuing_time_ms: float = 0.0
    time_to_first_token: float = 0.0
    queue_us: int = 0
    permit_wait_us: int = 0
    forward_us: int = 0
    first_part_us: int = 0
    neurons: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    input_characters: int = 0
    pixels: int = 0
    steps: int = 0
    audio_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    error_code: int = 0
    http_status: int = 0
    flags: int = 0
    colo_id: str = ""
    source_colo_id: str = ""
    visited_colos: tuple[str, ...] = ()
    hops: int = 0
    model_container_id: str = ""
    endpoint: str = ""
    chosen_because: str = ""
    local_queue_size: int = 0
    cost: int = 1
    priority: int = 0
    shard: int = 0
    shard_epoch: int = 0


class LifecycleEvent(Struct, frozen=True, kw_only=True, gc=False):
    """An endpoint appeared in the world map, or (with the same `begin_ts`) left it."""

    begin_ts: int
    end_ts: int = 0
    event_type: int = EventType.ENDPOINT
    model_id: str = ""
    hostname: str = ""
    colo: str = ""
    node: str = ""
    endpoint: str = ""


Event = InferenceEvent | LifecycleEvent


class Recorded(Struct, frozen=True, kw_only=True, gc=False):
    """One event with its identity; None is a kind of event that this reader does not know."""

    server: str
    boot_epoch: int
    sequence: int
    event: Event | None


class Batch(Struct, frozen=True, kw_only=True, gc=False):
    """Consecutive events of one boot of one server.

    An event of a kind that this reader does not know is None: it keeps its
    place, so that the others keep their sequence.
    """

    server: str
    boot_epoch: int
    first_sequence: int
    events: Sequence[Event | None]
    # Of Kafka, such as "constellation.inference-events/3"; empty: straight from the sink. Each
    # has its part of a boot's events, in order.
    partition: str = ""

    @property
    def last_sequence(self) -> int:
        """Return the sequence of the last event."""
        return self.first_sequence + len(self.events) - 1


class Ack(Struct, frozen=True, kw_only=True, gc=False):
    """The collector's word that all events up to `last_sequence` are stored."""

    server: str
    boot_epoch: int
    last_sequence: int
