"""Batches of events, and their acknowledgements, as length-prefixed frames.

    batch = uint32 bytes that follow | uint32 bytes of the header | BatchHeader | Event, Event, ...
    ack   = uint32 bytes that follow | Ack

Both sides bound what they read before they read it.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Protocol

import capnp

from libs.common.events.codec import BrokenEvent, decode_many, schema
from libs.common.events.values import Ack, Batch, Event

LENGTH = struct.Struct("!I")
MAX_ACK_BYTES = 4096
MAX_SERVER = 128  # characters of a server's name


class BrokenFrame(ValueError):
    """Bytes that are no batch, no acknowledgement, or larger than allowed."""


async def read_frame(
    reader: asyncio.StreamReader, *, max_bytes: int, body_seconds: float | None = None
) -> bytes:
    """Return what follows the next length; IncompleteReadError at the end of the stream.

    The length may take its time, what follows it only `body_seconds`: TimeoutError.
    """
    (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if size > max_bytes:
        raise BrokenFrame(f"a frame of {size} bytes where {max_bytes} are allowed")
    async with asyncio.timeout(body_seconds):
        return await reader.readexactly(size)


def encode_batch(
    messages: Sequence[bytes],
    *,
    server: str,
    boot_epoch: int,
    first_sequence: int,
    count: int | None = None,
) -> bytes:
    """Return the frame of encoded events, which are numbered from `first_sequence`.

    With a count, each of `messages` may be several of them, one behind the other.
    """
    header = schema.BatchHeader.new_message(
        server=server,
        bootEpoch=boot_epoch,
        firstSequence=first_sequence,
        count=len(messages) if count is None else count,
    ).to_bytes()
    size = LENGTH.size + len(header) + sum(map(len, messages))
    return b"".join((LENGTH.pack(size), LENGTH.pack(len(header)), header, *messages))


def body_of(frame: bytes) -> memoryview:
    """Return the encoded events in a batch's frame, one behind the other."""
    (header_size,) = LENGTH.unpack_from(frame, LENGTH.size)
    return memoryview(frame)[2 * LENGTH.size + header_size :]


class ReadEvents(Protocol):
    """Reads the events of a batch, one behind the other. Raises BrokenEvent."""

    def __call__(
        self, data: bytes, *, first_sequence: int, count: int
    ) -> Sequence[Event | None]: ...


def decode_batch(frame: bytes, *, max_events: int, read: ReadEvents = decode_many) -> Batch:
    """Return the batch in a frame, whose length has been taken off."""
    if len(frame) < LENGTH.size:
        raise BrokenFrame("a batch without a header")
    (header_size,) = LENGTH.unpack_from(frame)
    start = LENGTH.size + header_size
    try:
        with schema.BatchHeader.from_bytes(frame[LENGTH.size : start]) as header:
            server, boot_epoch = header.server, header.bootEpoch
            first, count = header.firstSequence, header.count
    except (capnp.KjException, ValueError) as error:
        raise BrokenFrame("a batch with a broken header") from error
    if not 0 < len(server) <= MAX_SERVER:
        raise BrokenFrame(f"a batch from a server whose name has {len(server)} characters")
    if not 0 < count <= max_events:
        raise BrokenFrame(f"a batch of {count} events from {server!r}; {max_events} are allowed")
    try:
        events = read(frame[start:], first_sequence=first, count=count)
    except BrokenEvent as error:
        raise BrokenFrame(f"a batch from {server!r}: {error}") from error
    return Batch(server=server, boot_epoch=boot_epoch, first_sequence=first, events=events)


def encode_ack(ack: Ack) -> bytes:
    """Return the frame of an acknowledgement."""
    message = schema.Ack.new_message(
        server=ack.server, bootEpoch=ack.boot_epoch, lastSequence=ack.last_sequence
    ).to_bytes()
    return LENGTH.pack(len(message)) + bytes(message)


def decode_ack(frame: bytes) -> Ack:
    """Return the acknowledgement in a frame, whose length has been taken off."""
    try:
        with schema.Ack.from_bytes(frame) as ack:
            return Ack(server=ack.server, boot_epoch=ack.bootEpoch, last_sequence=ack.lastSequence)
    except (capnp.KjException, ValueError) as error:
        raise BrokenFrame("a broken acknowledgement") from error
