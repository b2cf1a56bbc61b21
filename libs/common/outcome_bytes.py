"""Outcomes in the layout of our own writers: valid protobuf, written and read by hand.

    outcome { usage { tokens_in, tokens_out, units?, neurons? }
              timings { queue_us, permit_wait_us, forward_us, first_part_us }
              where: serving_colo, endpoint, chosen_because, hops }
    occupancy { free_permits, queue_length }

Every number is written, zero too, so that each has its place. Where a call was served hardly
varies: those bytes are looked up. What another writer lays out otherwise is None to these
readers, and left to protobuf. An answer and the last part of a stream have the same fields.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from google.protobuf.message import DecodeError

from libs.common.envelope import NO_UNITS, Outcome, Timings, Units, Usage
from libs.common.pb import inference_pb2 as pb
from libs.common.remembering import remember
from libs.common.varint import SHORT_BITS, read_short, varint

OUTCOME: Final = 0x1A
OCCUPANCY: Final = 0x22
USAGE: Final = 0x0A  # in an outcome
TIMINGS: Final = 0x12
UNITS: Final = 0x1A  # in a usage
NEURONS: Final = 0x21
FIRST: Final = 0x08  # numbers, by their place in their message
SECOND: Final = 0x10
THIRD: Final = 0x18
FOURTH: Final = 0x20
DOUBLE: Final = Struct("<d")


class Where:
    """Where a call was served, and why there."""

    __slots__ = ("chosen_because", "endpoint", "hops", "serving_colo")

    def __init__(self, serving_colo: str, endpoint: str, chosen_because: str, hops: int) -> None:
        self.serving_colo = serving_colo
        self.endpoint = endpoint
        self.chosen_because = chosen_because
        self.hops = hops

    def __repr__(self) -> str:
        return f"<Where {self.serving_colo} {self.endpoint} {self.chosen_because} {self.hops}>"

    def to_bytes(self) -> bytes:
        """Return its fields of an Outcome."""
        message = pb.Outcome(
            serving_colo=self.serving_colo,
            endpoint=self.endpoint,
            chosen_because=self.chosen_because,
            hops=self.hops,
        )
        return message.SerializeToString()


written: Final[dict[tuple[str, str, str, int], bytes]] = {}
read: Final[dict[bytes, Where]] = {}


def outcome_to_layout(outcome: Outcome) -> bytes | None:
    """Return both fields; None for an outcome with numbers that are out of the way."""
    usage, timings = outcome.usage, outcome.timings
    units, neurons = usage.units, usage.neurons
    tokens_in, tokens_out = usage.tokens_in, usage.tokens_out
    queue, wait = timings.queue_us, timings.permit_wait_us
    forward, first = timings.forward_us, timings.first_part_us
    free, queued = outcome.free_permits, outcome.queue_length
    characters = units.input_characters
    numbers = tokens_in | tokens_out | queue | wait | forward | first | free | queued | characters
    if numbers >> SHORT_BITS or units.pixels or units.steps or units.audio_seconds:
        return None
    used = [b"\x08", varint(tokens_in), b"\x10", varint(tokens_out)]
    if units is not NO_UNITS:
        told = varint(characters)
        used += (b"\x1a", varint(len(told) + 1), b"\x08", told)
    if neurons:
        used += (b"\x21", DOUBLE.pack(neurons))
    took = [b"\x08", varint(queue), b"\x10", varint(wait)]
    took += (b"\x18", varint(forward), b"\x20", varint(first))
    served = [*_message(b"\x0a", used), *_message(b"\x12", took), _where_to_bytes(outcome)]
    full = [b"\x08", varint(free), b"\x10", varint(queued)]
    return b"".join([*_message(b"\x1a", served), *_message(b"\x22", full)])


def _message(tag: bytes, chunks: list[bytes]) -> tuple[bytes, bytes, bytes]:
    """Return the chunks as a field."""
    data = b"".join(chunks)
    return tag, varint(len(data)), data


def _where_to_bytes(outcome: Outcome) -> bytes:
    key = (outcome.serving_colo, outcome.endpoint, outcome.chosen_because, outcome.hops)
    where = written.get(key)
    if where is None:
        where = Where(*key).to_bytes()
        remember(written, key, where, len(where))
    return where


def outcome_from_layout(data: bytes, at: int) -> Outcome | None:
    """Read both fields, up to the message's end; None where they are laid out otherwise."""
    try:
        return _read(data, at)
    except IndexError:  # a number that is long, or cut, or none
        return None


def _read(data: bytes, at: int) -> Outcome | None:
    served_to, at = _inside(data, at, OUTCOME)
    used_to, at = _inside(data, at, USAGE)
    tokens_in, at = _number(data, at, FIRST)
    tokens_out, at = _number(data, at, SECOND)
    units, neurons = NO_UNITS, 0.0
    if at < used_to and data[at] == UNITS:
        units_to, at = _inside(data, at, UNITS)
        characters, at = _number(data, at, FIRST)
        if at != units_to:
            return None
        units = Units(input_characters=characters)
    if at + 9 == used_to and data[at] == NEURONS:
        neurons = DOUBLE.unpack_from(data, at + 1)[0]
        at = used_to
    took_to, took_at = _inside(data, at, TIMINGS)
    queue, wait_at = _number(data, took_at, FIRST)
    wait, forward_at = _number(data, wait_at, SECOND)
    forward, first_at = _number(data, forward_at, THIRD)
    first, where_at = _number(data, first_at, FOURTH)
    if at != used_to or where_at != took_to or where_at > served_to:
        return None
    full_to, full_at = _inside(data, served_to, OCCUPANCY)
    free, queued_at = _number(data, full_at, FIRST)
    queued, at = _number(data, queued_at, SECOND)
    if at != full_to or at != len(data):
        return None
    where = _where_from_bytes(data[where_at:served_to])
    if where is None:
        return None
    return Outcome(
        usage=Usage(tokens_in=tokens_in, tokens_out=tokens_out, units=units, neurons=neurons),
        timings=Timings(
            queue_us=queue, permit_wait_us=wait, forward_us=forward, first_part_us=first
        ),
        serving_colo=where.serving_colo,
        endpoint=where.endpoint,
        chosen_because=where.chosen_because,
        hops=where.hops,
        free_permits=free,
        queue_length=queued,
    )


def _inside(data: bytes, at: int, tag: int) -> tuple[int, int]:
    """Return where the message ends, and where it begins, whose tag has to be at `at`."""
    if data[at] != tag:
        raise IndexError("another field")
    size, at = read_short(data, at + 1)
    if at + size > len(data):
        raise IndexError("a message is cut short")
    return at + size, at


def _number(data: bytes, at: int, tag: int) -> tuple[int, int]:
    """Return the number whose tag has to be at `at`, and where it ends."""
    if data[at] != tag:
        raise IndexError("another field")
    return read_short(data, at + 1)


def _where_from_bytes(data: bytes) -> Where | None:
    """Return what those bytes say, if they are just as we would write them."""
    where = read.get(data)
    if where is None:
        try:
            message = pb.Outcome.FromString(data)
        except DecodeError:
            return None
        where = Where(message.serving_colo, message.endpoint, message.chosen_because, message.hops)
        if where.to_bytes() != data:
            return None
        remember(read, data, where, len(data))
    return where
