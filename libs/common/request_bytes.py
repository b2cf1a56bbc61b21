"""Requests in the layout of our own writers: valid protobuf, most of it made and read only once.

    request_id, payload | bytes_in, units, prefix_hashes, texts | all other fields, by number
    -- in this order -- | ---- each only where it says more --- | -------- shared ----------

The shared part is the same for all calls of an account and a model that ask for the same, so its
bytes are looked up, by who writes and by who reads. It comes last because nothing says how long
it is. Protobuf lets fields stand in any order; what another writer orders otherwise, or what has
fields that are not known here, is None to these readers and left to protobuf.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from libs.common.envelope import NO_UNITS, InferRequest, Units
from libs.common.envelope_messages import request_of, shared_message
from libs.common.pb import inference_pb2 as pb
from libs.common.remembering import remember
from libs.common.varint import SHORT_BITS, read_short, varint

# The tags of fields, as their bytes read when the first is the lowest.
REQUEST_ID: Final = 0x0A
PAYLOAD: Final = 0x3A
ACCOUNT: Final = 0x1A  # with which the shared part begins
BYTES_IN: Final = 0x0280
UNITS: Final = 0x01FA
PREFIX_HASHES: Final = 0x6A
CLIENT_REQUEST_ID: Final = 0x12
SESSION: Final = 0x62
IDEMPOTENCY_KEY: Final = 0x01C2
TRACEPARENT: Final = 0x01F2
TRACESTATE: Final = 0x029A
CHARACTERS: Final = 0x08  # within units

TEXTS: Final = {
    CLIENT_REQUEST_ID: "client_request_id",
    SESSION: "session",
    IDEMPOTENCY_KEY: "idempotency_key",
    TRACEPARENT: "traceparent",
    TRACESTATE: "tracestate",
}
TEXT_TAGS: Final = tuple((tag.to_bytes(1 + (tag > 127), "little"), TEXTS[tag]) for tag in TEXTS)

written: Final[dict[tuple[object, ...], bytes]] = {}  # shared parts, by what they say
read: Final[dict[bytes, InferRequest]] = {}  # and the other way around


def request_to_layout(request: InferRequest) -> Sequence[bytes] | None:
    """Return the chunks of a message; None for a request with numbers that are out of the way."""
    units, bytes_in = request.units, request.bytes_in
    if (units.input_characters | bytes_in) >> SHORT_BITS:
        return None
    request_id, payload = request.request_id.encode(), request.payload
    own = b"\x80\x02" + varint(bytes_in) if bytes_in else b""
    if units is not NO_UNITS:
        if units.pixels or units.steps or units.audio_seconds:
            return None
        characters = varint(units.input_characters)
        own += b"\xfa\x01" + varint(len(characters) + 1) + b"\x08" + characters
    if (
        request.client_request_id
        or request.session
        or request.idempotency_key
        or request.traceparent
        or request.tracestate
        or request.prefix_hashes
    ):
        own += _seldom(request)
    key = _shared(request)
    shared = written.get(key)
    if shared is None:
        shared = shared_message(request).SerializeToString()
        remember(written, key, shared, len(shared))
    head = b"\x0a" + varint(len(request_id)) + request_id + b"\x3a" + varint(len(payload))
    return head, payload, own + shared


def _seldom(request: InferRequest) -> bytes:
    """Return what few requests have, and no two the same."""
    chunks: list[bytes] = []
    hashes = request.prefix_hashes
    if hashes:
        chunks += (b"\x6a", varint(8 * len(hashes)), struct.pack(f"<{len(hashes)}Q", *hashes))
    for tag, name in TEXT_TAGS:
        text: str = getattr(request, name)
        if text:
            data = text.encode()
            chunks += (tag, varint(len(data)), data)
    return b"".join(chunks)


def _shared(request: InferRequest) -> tuple[object, ...]:
    """Return what the shared part says."""
    bounds = request.time_bounds
    return (
        request.account,
        request.model,
        request.task,
        request.payload_kind + 0,  # an enum's own hash is a function in Python
        request.content_type,
        request.stream,
        request.finetune,
        request.adapter,
        request.cost,
        request.priority,
        request.max_queue_ms,
        request.reject_if_busy,
        request.background,
        request.preferred_colo,
        bounds.first_part_ms,
        bounds.idle_ms,
        bounds.total_ms,
        request.retry_count,
        request.attempt,
        request.continued_from,
        request.source_colo,
        request.visited_colos,
        request.queued_in_colo,
        request.shard,
        request.falls_back,
        request.shard_epoch,
        request.request_source + 0,
    )


def request_from_layout(data: bytes) -> InferRequest | None:
    """Read a request; None for one that is laid out otherwise, or not right."""
    try:
        return _read(data)
    except (IndexError, UnicodeDecodeError):  # numbers that are long, or cut, or no text
        return None


def _read(data: bytes) -> InferRequest | None:
    size, id_at = read_short(data, 1)
    id_end = id_at + size
    if data[0] != REQUEST_ID or data[id_end] != PAYLOAD:
        return None
    size, payload_at = read_short(data, id_end + 1)
    payload_end = payload_at + size
    bytes_in, at = _bytes_in(data, payload_end)
    units, at = _units(data, at)
    seldom: dict[str, object] | None = None
    if data[at] != ACCOUNT:
        seldom = {}
        at = _read_seldom(data, at, seldom)
    shared = data[at:]
    template = read.get(shared) or _learn(shared)
    if template is None:
        return None
    request = template.copy()
    request.request_id = data[id_at:id_end].decode()
    request.payload = data[payload_at:payload_end]
    request.bytes_in = bytes_in
    request.units = units
    if seldom is not None:
        for name, value in seldom.items():
            setattr(request, name, value)
    return request


def _bytes_in(data: bytes, at: int) -> tuple[int, int]:
    """Return the size of the client's body, if it is here, and where that ends."""
    if data[at] | data[at + 1] << 8 != BYTES_IN:
        return 0, at
    return read_short(data, at + 2)


def _units(data: bytes, at: int) -> tuple[Units, int]:
    """Return the units that are here, and where they end."""
    if data[at] | data[at + 1] << 8 != UNITS:
        return NO_UNITS, at
    size, start = read_short(data, at + 2)
    characters, end = read_short(data, start + 1)
    if data[start] != CHARACTERS or end != start + size:
        raise IndexError("other units")
    return Units(input_characters=characters), end


def _read_seldom(data: bytes, at: int, into: dict[str, object]) -> int:
    """Read what few requests have; return where the shared part begins."""
    while True:
        tag, size_at = data[at], at + 1
        if tag > 127:
            tag, size_at = tag | data[at + 1] << 8, at + 2
        name = TEXTS.get(tag, "")
        if not name and (tag != PREFIX_HASHES or "prefix_hashes" in into):
            return at
        size, start = read_short(data, size_at)
        at = start + size
        if at >= len(data):
            raise IndexError("a field is cut short")
        value = data[start:at]
        if name:
            into[name] = value.decode()
        elif size % 8 == 0:
            into["prefix_hashes"] = struct.unpack(f"<{size // 8}Q", value)
        else:
            raise IndexError("a number is cut short")


def _learn(shared: bytes) -> InferRequest | None:
    """Return a request with only the shared part, if that is just as we would write it.

    So it has no other field, nothing twice and nothing unknown, and says the same at any place.
    """
    try:
        request = request_of(pb.InferRequest.FromString(shared))
    except (DecodeError, KeyError):
        return None
    if shared_message(request).SerializeToString() != shared:
        return None
    remember(read, shared, request, len(shared))
    return request
