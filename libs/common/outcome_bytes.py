"""Outcomes in the layout of our own writers: valid protobuf, written and read by hand.

    occupancy { free_permits, queue_length }
    outcome { usage { tokens_in, tokens_out, units { input_characters }, neurons }
              timings { queue_us, permit_wait_us, forward_us, first_part_us }
              where: serving_colo, endpoint, chosen_because, hops }

Every number is written, zero too, and in four bytes, which protobuf allows: so all have their
places, and are written and read in one go. Where a call was served hardly varies: those bytes are
looked up. What another writer lays out otherwise is None to these readers, and left to protobuf.
An answer and the last part of a stream have the same fields.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from google.protobuf.message import DecodeError

from libs.common.envelope import NO_UNITS, Outcome, Timings, Units, Usage
from libs.common.pb import inference_pb2 as pb
from libs.common.remembering import remember
from libs.common.varint import LARGEST_WIDE, WIDE_ZERO, are_wide, narrow, wide

# What stands between the numbers: tags, and the sizes of messages that have only numbers.
BEFORE_FREE: Final = b"\x22\x0a\x08"
BEFORE_SIZE: Final = b"\x1a"  # of the outcome, whose size follows
BEFORE_TOKENS_IN: Final = b"\x0a\x1a\x08"
BEFORE_CHARACTERS: Final = b"\x1a\x05\x08"
BEFORE_NEURONS: Final = b"\x21"
BEFORE_QUEUE_US: Final = b"\x12\x14\x08"
SECOND: Final = b"\x10"
THIRD: Final = b"\x18"
FOURTH: Final = b"\x20"
LAYOUT: Final = Struct("<3sIcI cI 3sIcI3sIcd 3sIcIcIcI")
BETWEEN: Final = (
    *(BEFORE_FREE, SECOND, BEFORE_SIZE, BEFORE_TOKENS_IN, SECOND, BEFORE_CHARACTERS),
    *(BEFORE_NEURONS, BEFORE_QUEUE_US, SECOND, THIRD, FOURTH),
)
OWN: Final = LAYOUT.size - Struct("<3sIcI cI").size  # bytes of the outcome that are not its where


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
    units = usage.units
    tokens_in, tokens_out = usage.tokens_in, usage.tokens_out
    queue, wait = timings.queue_us, timings.permit_wait_us
    forward, first = timings.forward_us, timings.first_part_us
    free, queued = outcome.free_permits, outcome.queue_length
    characters = units.input_characters
    numbers = tokens_in | tokens_out | queue | wait | forward | first | free | queued | characters
    if not 0 <= numbers <= LARGEST_WIDE or units.pixels or units.steps or units.audio_seconds:
        return None
    where = _where_to_bytes(outcome)
    numbers_first = LAYOUT.pack(
        BEFORE_FREE,
        wide(free),
        SECOND,
        wide(queued),
        BEFORE_SIZE,
        wide(OWN + len(where)),
        BEFORE_TOKENS_IN,
        wide(tokens_in),
        SECOND,
        wide(tokens_out),
        BEFORE_CHARACTERS,
        wide(characters),
        BEFORE_NEURONS,
        usage.neurons,
        BEFORE_QUEUE_US,
        wide(queue),
        SECOND,
        wide(wait),
        THIRD,
        wide(forward),
        FOURTH,
        wide(first),
    )
    return numbers_first + where


def _where_to_bytes(outcome: Outcome) -> bytes:
    key = (outcome.serving_colo, outcome.endpoint, outcome.chosen_because, outcome.hops)
    where = written.get(key)
    if where is None:
        where = Where(*key).to_bytes()
        remember(written, key, where, len(where))
    return where


def outcome_from_layout(data: bytes, at: int) -> Outcome | None:
    """Read both fields, up to the message's end; None where they are laid out otherwise."""
    where_at = at + LAYOUT.size
    if where_at > len(data):
        return None
    found = LAYOUT.unpack_from(data, at)
    if found[::2] != BETWEEN:
        return None
    free: int = found[1]
    queued: int = found[3]
    size: int = found[5]
    tokens_in: int = found[7]
    tokens_out: int = found[9]
    characters: int = found[11]
    neurons: float = found[13]
    queue: int = found[15]
    wait: int = found[17]
    forward: int = found[19]
    first: int = found[21]
    common = free & queued & size & tokens_in & tokens_out & characters & queue & wait & forward
    joined = free | queued | size | tokens_in | tokens_out | characters | queue | wait | forward
    data = data[where_at:]
    if not are_wide(common & first, joined | first) or narrow(size) != OWN + len(data):
        return None
    where = _where_from_bytes(data)
    if where is None:
        return None
    units = Units(input_characters=narrow(characters)) if characters != WIDE_ZERO else NO_UNITS
    return Outcome(
        usage=Usage(
            tokens_in=narrow(tokens_in),
            tokens_out=narrow(tokens_out),
            units=units,
            neurons=neurons,
        ),
        timings=Timings(
            queue_us=narrow(queue),
            permit_wait_us=narrow(wait),
            forward_us=narrow(forward),
            first_part_us=narrow(first),
        ),
        serving_colo=where.serving_colo,
        endpoint=where.endpoint,
        chosen_because=where.chosen_because,
        hops=where.hops,
        free_permits=narrow(free),
        queue_length=narrow(queued),
    )


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
