"""Usual inference events to Cap'n Proto messages, each by one `struct.pack`.

Where the parts of a message lie depends on nothing but how long its texts are. So the layout,
pointers included, is worked out once for each such shape, from the schema. And most events of a
model are the same but for their times and counts (occurrences.py), which lie together: those are
written into a copy of an earlier one. codec.py goes the way of pycapnp, field by field, with all
that is unusual.

The format is at https://capnproto.org/encoding.html: one segment, all numbers little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

from libs.common.events.occurrences import OWN, Occurrence
from libs.common.events.values import InferenceEvent

CODES: Final = {
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "float64": "d",
    "enum": "H",
}
MOST_SHAPES = 1024  # a kilobyte each
MOST_TEMPLATES: Final = 1024
IDS: Final = "client_request_id", "traceparent"  # with one of them, an event is like no other
# struct Event, whose fields never move: version, kind, boot epoch, sequence; then two pointers.
EVENT, EVENT_WORDS, EVENT_POINTERS = "HH4xQQ", 3, 2
# Before them are the frame of one segment and the root pointer.
SEQUENCE, SEQUENCE_AT = struct.Struct("<Q"), 8 * (2 + 2)
INFINITY: Final = math.inf  # compiled, another module's name is looked up each time
NOT_PACKED = (struct.error, TypeError, ValueError, OverflowError)


class _Shape(NamedTuple):
    """How to write the events whose texts are of certain lengths."""

    pack: Callable[..., bytes]
    start: bytes  # the frame, and the pointer to the event
    event_pointers: bytes
    pointers: bytes
    texts_at: tuple[int, ...]  # bytes from the start, of the server's name and of each text


# An earlier event, cut where the next one differs: before its sequence, its own numbers, its id,
# and after that; and how long the id is.
_Template: TypeAlias = tuple[bytes, bytes, bytes, bytes, int]


class Packer:
    """Writes inference events; of the struct, it asks the schema."""

    def __init__(self, schema: Any, *, slots: Mapping[str, Any], version: int, kind: int) -> None:
        """`slots` has each field's place by its name; `kind` is the number in the union."""
        self._version, self._kind = version, kind
        self._words = schema.node.struct.dataWordCount
        self._pointers = schema.node.struct.pointerCount
        numbers = {name: slot for name, slot in slots.items() if _kind(slot) in CODES}
        texts = {name: slot for name, slot in slots.items() if _kind(slot) == "text"}
        self._format, in_order = _numbers(numbers, self._words)
        self._numbers = attrgetter(*in_order)
        self._floats = attrgetter(*(name for name in numbers if _kind(slots[name]) == "float64"))
        self._texts = attrgetter(*texts)
        self._id = 1 + list(texts).index("request_id")
        self._ids = attrgetter(*IDS)
        first = in_order.index(OWN[0])
        if tuple(in_order[first : first + len(OWN)]) != OWN:
            raise ValueError("the schema has other fields between those that vary")
        self._own_floats = [at for at, name in enumerate(OWN) if _kind(slots[name]) == "float64"]
        together = "".join(CODES[_kind(slots[name])] for name in OWN)
        own = struct.Struct(f"<{together}")
        self._pack_own = own.pack
        # The start of a message, up to the numbers: the frame, the root, struct Event.
        self._own_at = 8 * (2 + EVENT_WORDS + EVENT_POINTERS + slots[OWN[0]].offset)
        self._own_end = self._own_at + own.size
        self._templates: dict[tuple[object, ...], _Template] = {}
        self._slots = [slot.offset for slot in texts.values()]
        self._sources = len(schema.fields["requestSource"].schema.enumerants)
        self._shapes: dict[bytes, _Shape] = {}

    def pack_occurrence(
        self, told: Occurrence, *, server: str, boot_epoch: int, sequence: int
    ) -> bytes:
        """Return the message, as `pack` does of the event."""
        alike = (server, boot_epoch, told.common)
        template, number = self._templates.get(alike), told.request_id.encode()
        if template is not None:
            start, between, before_id, rest, size = template
            if size == len(number):
                for at in self._own_floats:
                    _check(told.own[at])
                numbers = self._pack_own(*told.own)
                put = SEQUENCE.pack(sequence)
                return b"".join((start, put, between, numbers, before_id, number, rest))
        event = told.event()
        whole, id_at = self._whole(event, server, boot_epoch, sequence)
        if not any(self._ids(event)):
            self._keep(alike, whole, id_at, len(number))
        return whole

    def pack(self, event: InferenceEvent, *, server: str, boot_epoch: int, sequence: int) -> bytes:
        """Return the message; raises one of NOT_PACKED where a value needs more care."""
        return self._whole(event, server, boot_epoch, sequence)[0]

    def _whole(
        self, event: InferenceEvent, server: str, boot_epoch: int, sequence: int
    ) -> tuple[bytes, int]:
        """Return the message, and where its id is."""
        for number in self._floats(event):
            _check(number)
        if event.visited_colos:
            raise ValueError("a list")
        if event.request_source >= self._sources:
            raise ValueError("an unknown source")
        texts = list(map(str.encode, (server, *self._texts(event))))
        shape = self._shape(texts)
        whole = shape.pack(
            shape.start,
            self._version,
            self._kind,
            boot_epoch,
            sequence,
            shape.event_pointers,
            *self._numbers(event),
            shape.pointers,
            *texts,
        )
        return whole, shape.texts_at[self._id]

    def _keep(self, alike: tuple[object, ...], message: bytes, id_at: int, id_size: int) -> None:
        if len(self._templates) >= MOST_TEMPLATES:
            self._templates.clear()
        self._templates[alike] = (
            message[:SEQUENCE_AT],
            message[SEQUENCE_AT + SEQUENCE.size : self._own_at],
            message[self._own_end : id_at],
            message[id_at + id_size :],
            id_size,
        )

    def _shape(self, texts: Sequence[bytes]) -> _Shape:
        lengths = bytes(map(len, texts))  # a text of more than 255 bytes is unusual
        return self._shapes.get(lengths) or self._new_shape(lengths)

    def _new_shape(self, lengths: bytes) -> _Shape:
        if len(self._shapes) >= MOST_SHAPES:
            self._shapes.clear()
        shape = self._shapes[lengths] = self._lay_out(lengths)
        return shape

    def _lay_out(self, lengths: bytes) -> _Shape:
        # Positions are words from the first pointer on: it, the event, the struct, the texts.
        server_at = 1 + EVENT_WORDS
        struct_at = server_at + EVENT_POINTERS
        pointers_at = struct_at + self._words
        end = pointers_at + self._pointers
        at = [server_at, *(pointers_at + slot for slot in self._slots)]
        pointers = dict.fromkeys(range(pointers_at, end), 0)
        formats, texts_at = [], []
        for where, length in zip(at, lengths, strict=True):
            words = (length + 8) // 8 if length else 0  # each text ends with a zero
            pointers[where] = _text_pointer(end - where - 1, length)
            formats.append(f"{8 * words}s")
            texts_at.append(8 * (end + 1))
            end += words
        server = pointers.pop(server_at)
        format_ = f"<16s{EVENT}16s{self._format}{8 * self._pointers}s{''.join(formats)}"
        return _Shape(
            pack=struct.Struct(format_).pack,
            start=struct.pack("<IIQ", 0, end, _struct_pointer(0, EVENT_WORDS, EVENT_POINTERS)),
            event_pointers=struct.pack(
                "<QQ", server, _struct_pointer(0, self._words, self._pointers)
            ),
            pointers=struct.pack(f"<{self._pointers}Q", *pointers.values()),
            texts_at=tuple(texts_at),
        )


def _check(number: float) -> None:
    """Refuse what no time and no price can be; integers have their bounds in the format."""
    if not 0.0 <= number < INFINITY:
        raise ValueError("a number out of range")


def _kind(slot: Any) -> str:
    return str(slot.type.which())


def _numbers(slots: Mapping[str, Any], words: int) -> tuple[str, list[str]]:
    """Return the format of the words that hold numbers, and whose they are."""
    places = {}
    for name, slot in slots.items():
        code = CODES[_kind(slot)]
        places[slot.offset * struct.calcsize(f"<{code}")] = code, name  # bytes from the start
    parts, end = [], 0
    for at in sorted(places):
        code, _ = places[at]
        parts.append(f"{at - end}x{code}")
        end = at + struct.calcsize(f"<{code}")
    return "".join(parts) + f"{8 * words - end}x", [places[at][1] for at in sorted(places)]


def _text_pointer(words: int, length: int) -> int:
    """Return the pointer to a text that begins so many words behind it."""
    return (length + 1) << 35 | 2 << 32 | words << 2 | 1 if length else 0


def _struct_pointer(words: int, numbers: int, pointers: int) -> int:
    """Return the pointer to a struct that begins so many words behind it."""
    return pointers << 48 | numbers << 32 | words << 2
