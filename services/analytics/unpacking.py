"""Usual inference events from their Cap'n Proto messages straight into columns, by numpy.

A batch's events are written by one layout (libs/common/events/packing.py): numbers at the same
places, texts wherever their pointers say (texts.py). So a column of numbers is one stride through
all of them. What has another layout (an event of another kind or version, one with a list) is left
to codec.py, one by one.

The format is at https://capnproto.org/encoding.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from libs.common.events.codec import INFERENCE_KIND, INFERENCE_NODE, INFERENCE_SLOTS
from libs.common.events.packing import EVENT_POINTERS, EVENT_WORDS
from services.analytics.texts import WORD, Texts, Unusual

Words: TypeAlias = npt.NDArray[np.uint64]
Columns: TypeAlias = dict[str, npt.NDArray[Any]]

TYPES = {"uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8", "float64": "f8"}
# Words from the start of a message: the frame, the root, struct Event, its two pointers.
ROOT_AT, EVENT_AT = 1, 2
ONE_SEGMENT = 0xFFFFFFFF  # of a frame, the bits that are zero then
SEQUENCE_AT = EVENT_AT + 2
POINTERS_AT = EVENT_AT + EVENT_WORDS
NUMBERS_AT = POINTERS_AT + EVENT_POINTERS
# Texts in which most events differ, in the order in which they lie.
OWN_TEXTS = "account_id", "request_id", "client_request_id", "traceparent"
U = np.uint64


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The usual events of a batch as columns, and where the others lie in it."""

    columns: Columns
    at: npt.NDArray[np.intp]  # which of the batch's events the rows are
    others: tuple[tuple[int, bytes], ...]  # the rest: which, and their messages


class Unpacker:
    """Reads batches; where the fields lie it asks the schema."""

    def __init__(self, node: Any, *, slots: Mapping[str, Any], kind: int) -> None:
        numbers_words, pointers = node.struct.dataWordCount, node.struct.pointerCount
        self._kind = U(kind)
        self._root = U(EVENT_POINTERS << 48 | EVENT_WORDS << 32)
        self._struct = U(pointers << 48 | numbers_words << 32)
        self._words = NUMBERS_AT + numbers_words + pointers
        kinds = {name: str(slot.type.which()) for name, slot in slots.items()}
        at = NUMBERS_AT + numbers_words
        texts = {n: at + slots[n].offset for n, kind in kinds.items() if kind == "text"}
        shared = [name for name in texts if name not in OWN_TEXTS]
        self._text_names = (*OWN_TEXTS, *shared)
        self._text_places = tuple(texts[name] for name in self._text_names)
        self._texts = Texts(
            own=self._text_places[: len(OWN_TEXTS)],
            shared=self._text_places[len(OWN_TEXTS) :],
            start=self._words,
        )
        self._lists = {n: at + slots[n].offset for n, kind in kinds.items() if kind == "list"}
        codes = {name: TYPES.get(kind, "u2") for name, kind in kinds.items()}
        numbers = [n for n in slots if n not in texts and n not in self._lists]
        self._floats = {name for name in numbers if codes[name] == "f8"}
        places = {n: slots[n].offset * np.dtype(codes[n]).itemsize for n in numbers}
        self._numbers = np.dtype(
            {
                "names": numbers,
                "formats": [f"<{codes[name]}" for name in numbers],
                "offsets": [WORD * NUMBERS_AT + places[name] for name in numbers],
                "itemsize": WORD * self._words,
            }
        )

    def unpack(self, body: bytes, *, first_sequence: int, count: int) -> Unpacked:
        """Read a batch's messages. Raises Unusual where they are not `count` whole ones."""
        starts, sizes = _messages(body, count)
        words: Words = np.frombuffer(body, "<u8")
        if (words[starts] & U(ONE_SEGMENT)).any():
            raise Unusual("several segments")
        long_enough = np.flatnonzero(sizes >= self._words)
        heads = words[starts[long_enough, None] + np.arange(self._words)]
        usual = self._are_usual(heads)
        at, heads = long_enough[usual], heads[usual]
        if (heads[:, SEQUENCE_AT] != U(first_sequence) + at.astype(U)).any():
            raise Unusual("out of sequence")
        rest = np.setdiff1d(np.arange(count), at) if len(at) < count else ()
        others = [(int(n), body[WORD * starts[n] : WORD * (starts[n] + sizes[n])]) for n in rest]
        pointers = heads[:, self._text_places].tobytes()
        texts = self._texts.read(body, starts[at], sizes[at], pointers)
        columns = self._number_columns(heads) | dict(zip(self._text_names, texts, strict=True))
        return Unpacked(columns, at, tuple(others))

    def _are_usual(self, heads: Words) -> npt.NDArray[np.bool_]:
        usual: npt.NDArray[np.bool_] = heads[:, ROOT_AT] == self._root
        usual &= (heads[:, EVENT_AT] >> U(16)) & U(0xFFFF) == self._kind
        usual &= heads[:, POINTERS_AT + 1] == self._struct
        for place in self._lists.values():
            usual &= heads[:, place] == U(0)
        return usual

    def _number_columns(self, heads: Words) -> Columns:
        numbers = np.ascontiguousarray(heads).view(self._numbers)[:, 0]
        columns: Columns = {}
        for name in self._numbers.names or ():
            kind = np.float64 if name in self._floats else np.uint64
            columns[name] = numbers[name].astype(kind)
        return columns


def _messages(body: bytes, count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return where the messages begin, and how long they are, in words."""
    if not body or len(body) % WORD:
        raise Unusual("no whole words")
    words = memoryview(body).cast("Q")
    starts: list[int] = []
    at = 0
    while at < len(words):
        starts.append(at)
        at += 1 + (words[at] >> 32)  # a frame: the segments less one, the words of the first
    if at != len(words) or len(starts) != count:
        raise Unusual("more or less than there should be")
    edges = np.array([*starts, at], dtype=np.intp)
    return edges[:-1], np.diff(edges)


UNPACKER = Unpacker(INFERENCE_NODE, slots=INFERENCE_SLOTS, kind=INFERENCE_KIND)
