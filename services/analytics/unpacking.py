"""Usual inference events from their Cap'n Proto messages straight into columns, by numpy.

A batch's events are written by one layout (libs/common/events/packing.py): numbers at the same
places, texts wherever their pointers say. So a column of numbers is one stride through all of
them, and of a column of texts each different one is decoded once. What has another layout (an
event of another kind or version, one with a list) is left to codec.py, one by one.

The format is at https://capnproto.org/encoding.html.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from libs.common.events.codec import INFERENCE_KIND, INFERENCE_NODE, INFERENCE_SLOTS
from libs.common.events.packing import EVENT_POINTERS, EVENT_WORDS

Words: TypeAlias = npt.NDArray[np.uint64]
Columns: TypeAlias = dict[str, npt.NDArray[Any]]

TYPES = {"uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8", "float64": "f8"}
WORD = 8
LONGEST_TEXT = 1024  # in bytes; a longer one is unusual
MOST_DIFFERENT = 0.5  # of a column's texts; where it is more, each is decoded by itself
# By chance, so that nobody can write texts whose keys are the same.
FACTORS = np.random.default_rng().integers(2**63, size=2 + LONGEST_TEXT // WORD, dtype=np.uint64)
FRAME = struct.Struct("<II")  # segments less one, words of the first
# Words from the start of a message: the frame, the root, struct Event, its two pointers.
ROOT_AT, EVENT_AT = 1, 2
SEQUENCE_AT = EVENT_AT + 2
POINTERS_AT = EVENT_AT + EVENT_WORDS
NUMBERS_AT = POINTERS_AT + EVENT_POINTERS
U = np.uint64
OFFSET = U(0x3FFF_FFFF)


class Unusual(Exception):
    """Something that only codec.py reads, or refuses."""


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
        self._texts = {n: at + slots[n].offset for n, kind in kinds.items() if kind == "text"}
        self._lists = {n: at + slots[n].offset for n, kind in kinds.items() if kind == "list"}
        codes = {name: TYPES.get(kind, "u2") for name, kind in kinds.items()}
        numbers = [n for n in slots if n not in self._texts and n not in self._lists]
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
        long_enough = np.flatnonzero(sizes >= self._words)
        heads = words[starts[long_enough, None] + np.arange(self._words)]
        usual = self._are_usual(heads)
        at, heads = long_enough[usual], heads[usual]
        if (heads[:, SEQUENCE_AT] != U(first_sequence) + at.astype(U)).any():
            raise Unusual("out of sequence")
        rest = np.setdiff1d(np.arange(count), at) if len(at) < count else ()
        others = [(int(n), body[WORD * starts[n] : WORD * (starts[n] + sizes[n])]) for n in rest]
        columns = self._columns(_Messages(body, words, starts[at], sizes[at]), heads)
        return Unpacked(columns, at, tuple(others))

    def _are_usual(self, heads: Words) -> npt.NDArray[np.bool_]:
        usual: npt.NDArray[np.bool_] = heads[:, ROOT_AT] == self._root
        usual &= (heads[:, EVENT_AT] >> U(16)) & U(0xFFFF) == self._kind
        usual &= heads[:, POINTERS_AT + 1] == self._struct
        for place in self._lists.values():
            usual &= heads[:, place] == U(0)
        return usual

    def _columns(self, messages: _Messages, heads: Words) -> Columns:
        numbers = np.ascontiguousarray(heads).view(self._numbers)[:, 0]
        columns: Columns = {}
        for name in self._numbers.names or ():
            kind = np.float64 if name in self._floats else np.uint64
            columns[name] = numbers[name].astype(kind)
        places = np.array(list(self._texts.values()))
        texts = messages.texts(heads[:, places].T, places)
        return columns | dict(zip(self._texts, texts, strict=True))


class _Messages:
    """Where messages lie in a body, in words, and the texts that they point to."""

    def __init__(self, body: bytes, words: Words, starts: Any, sizes: Any) -> None:
        self._body = body
        self._words = words
        self._starts = starts
        self._ends = starts + sizes

    def texts(self, pointers: Words, places: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Return rows of texts: what the pointers in each row, at its place, point to."""
        texts = np.full(pointers.shape, "", dtype=object)
        row, message = np.nonzero(pointers)
        if not len(row):
            return texts
        there = pointers[row, message]
        is_text = (there & U(3) == U(1)) & ((there >> U(32)) & U(7) == U(2))
        lengths = (there >> U(35)).astype(np.intp) - 1
        at = self._starts[message] + places[row] + 1 + (there >> U(2) & OFFSET).astype(np.intp)
        ends = at + lengths // WORD + 1
        is_wrong = (
            ~is_text | (lengths < 0) | (lengths > LONGEST_TEXT) | (ends > self._ends[message])
        )
        if is_wrong.any():
            raise Unusual("a text that is none, or is long")
        firsts, which = _different(self._contents(at, lengths))
        each = [
            self._text(*place)
            for place in zip(at[firsts].tolist(), lengths[firsts].tolist(), strict=True)
        ]
        texts[row, message] = np.array(each, dtype=object)[which]
        return texts

    def _contents(self, at: Any, lengths: Any) -> Words:
        """Return the words that the texts lie in, as rows of one width, behind their lengths."""
        sizes = lengths // WORD + 1
        columns = np.arange(int(sizes.max()))
        places = np.minimum(at[:, None] + columns, len(self._words) - 1)
        contents: Words = np.empty((len(at), len(columns) + 1), dtype=U)
        contents[:, 0] = lengths
        contents[:, 1:] = np.where(columns < sizes[:, None], self._words[places], U(0))
        return contents

    def _text(self, at: int, length: int) -> str:
        start = WORD * at
        end = start + length
        if self._body[end]:
            raise Unusual("a text without its end")
        try:
            return self._body[start:end].decode()
        except UnicodeDecodeError as error:
            raise Unusual("a text that is no UTF-8") from error


def _different(rows: Words) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return where the different rows come first, and which of those each row is."""
    keys = (rows * FACTORS[: rows.shape[1]]).sum(axis=1, dtype=U)  # modulo 2**64
    _, firsts, which = np.unique(keys, return_index=True, return_inverse=True)
    few = len(firsts) <= MOST_DIFFERENT * len(rows)
    if few and (rows == rows[firsts[which]]).all():  # else two of them had one key
        return firsts, which
    each = np.arange(len(rows))
    return each, each


def _messages(body: bytes, count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return where the messages begin, and how long they are, in words."""
    if len(body) % WORD:
        raise Unusual("half a word")
    starts: list[int] = []
    at, read = 0, FRAME.unpack_from
    while at < len(body):
        more_segments, words = read(body, at)
        if more_segments:
            raise Unusual("several segments")
        starts.append(at // WORD)
        at += WORD * (1 + words)
    if at != len(body) or len(starts) != count:
        raise Unusual("more or less than there should be")
    edges = np.array([*starts, at // WORD], dtype=np.intp)
    return edges[:-1], np.diff(edges)


UNPACKER = Unpacker(INFERENCE_NODE, slots=INFERENCE_SLOTS, kind=INFERENCE_KIND)
