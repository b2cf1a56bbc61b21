"""The texts of Cap'n Proto messages of one struct, most of them read once for many messages.

Where a message's texts lie, its pointers say; and messages of one model have the same pointers,
but for ids of other lengths. So those bytes are the name of a shape, which is worked out and
checked once. A few texts are a message's own, such as its id. What lies between them is the same
in many messages, which are alike then: those texts are decoded for the first of them.

The format is at https://capnproto.org/encoding.html.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

WORD = 8
LONGEST_TEXT = 1024  # in bytes; a longer one is unusual
MOST_SHAPES = 1024  # a few hundred bytes each
MOST_ALIKE = 8192  # a kilobyte each
OFFSET = (1 << 30) - 1
LIST, OF_BYTES = 1, 2  # what a pointer points to, and how large the elements are
Span = tuple[int, int]  # where bytes begin in a message, and how many they are


class Unusual(Exception):
    """Something that only codec.py reads, or refuses."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where the texts of some messages lie."""

    unpack: Callable[..., tuple[bytes, ...]]  # in turns what is between own texts, and one of them
    shared: tuple[Span, ...]  # the other texts
    end: int  # of the last, in words from the message's start
    alike: dict[tuple[bytes, ...], int] = field(default_factory=dict)  # by what is between


class _Decoded(dict[bytes, str]):
    """Texts by their bytes, with the zero at their end; none at all is the empty one."""

    def __init__(self) -> None:
        super().__init__({b"": ""})

    def __missing__(self, data: bytes) -> str:
        if data[-1]:
            raise Unusual("a text without its end")
        try:
            text = self[data] = data[:-1].decode()
        except UnicodeDecodeError as error:
            raise Unusual("a text that is no UTF-8") from error
        return text


class Texts:
    """Reads the texts that some pointers of a message point to."""

    def __init__(self, *, own: Sequence[int], shared: Sequence[int], start: int) -> None:
        """The places are the pointers', those of a message's own texts and of the others.

        All are in words from a message's start, as is `start`, of what may be texts.
        """
        self._own, self._shared = tuple(own), tuple(shared)
        self._start = WORD * start
        self._shapes: dict[bytes, _Shape] = {}
        self._alike = np.empty((MOST_ALIKE, len(shared)), dtype=object)
        self._known = 0  # rows of those
        self._lock = Lock()

    def read(
        self, body: bytes, starts: npt.NDArray[Any], sizes: npt.NDArray[Any], pointers: bytes
    ) -> list[npt.NDArray[Any]]:
        """Return the own texts' columns, then the shared ones', each in its pointers' order.

        `starts` and `sizes` of the messages are in words; `pointers` are theirs in that order,
        one message's after another's. Raises Unusual.
        """
        with self._lock:  # batches are read in several threads
            self._make_room(len(starts))
            decoded = _Decoded()
            own, alike = self._find(body, starts.tolist(), sizes.tolist(), pointers, decoded)
            shared = self._alike[np.array(alike, dtype=np.intp)]
        columns = np.array(own, dtype=object).reshape(len(starts), len(self._own))
        return [*columns.T, *shared.T]

    def _find(
        self,
        body: bytes,
        starts: Sequence[int],
        sizes: Sequence[int],
        pointers: bytes,
        decoded: _Decoded,
    ) -> tuple[list[str], list[int]]:
        """Return the own texts of all messages, and which rows have their shared ones."""
        width = WORD * (len(self._own) + len(self._shared))
        own: list[str] = []
        alike: list[int] = []
        at, known, text = 0, self._shapes.get, decoded.__getitem__
        for start, size in zip(starts, sizes, strict=True):
            key = pointers[at : at + width]
            at += width
            shape = known(key) or self._new_shape(key)
            if shape.end > size:
                raise Unusual("a text beyond its message")
            parts = shape.unpack(body, WORD * start)
            row = shape.alike.get(parts[::2])
            if row is None:
                row = self._new_alike(shape, parts[::2], body, WORD * start, decoded)
            alike.append(row)
            own += map(text, parts[1::2])
        return own, alike

    def _make_room(self, messages: int) -> None:
        if messages > MOST_ALIKE:
            raise Unusual("more than at once")
        if self._known + messages > MOST_ALIKE or len(self._shapes) >= MOST_SHAPES:
            self._shapes.clear()
            self._known = 0

    def _new_alike(
        self, shape: _Shape, between: tuple[bytes, ...], body: bytes, at: int, decoded: _Decoded
    ) -> int:
        row = self._known
        self._alike[row] = [
            decoded[body[at + start : at + start + length]] for start, length in shape.shared
        ]
        shape.alike[between] = row
        self._known += 1
        return row

    def _new_shape(self, pointers: bytes) -> _Shape:
        places = (*self._own, *self._shared)
        each = struct.unpack(f"<{len(places)}Q", pointers)
        spans = [self._span(place, there) for place, there in zip(places, each, strict=True)]
        last = max(start + length for start, length in spans)
        formats, end = [f"<{self._start}x"], self._start
        for start, length in spans[: len(self._own)]:
            start = start if length else end
            if start < end:
                raise Unusual("texts in another order")
            formats.append(f"{start - end}s{length}s")
            end = start + length
        formats.append(f"{last - end}s")
        unpack = struct.Struct("".join(formats)).unpack_from
        shape = _Shape(unpack, tuple(spans[len(self._own) :]), -(-last // WORD))
        self._shapes[pointers] = shape
        return shape

    def _span(self, place: int, pointer: int) -> Span:
        """Return where a pointer's text lies, with the zero at its end."""
        if not pointer:
            return self._start, 0
        offset, length = pointer >> 2 & OFFSET, pointer >> 35
        is_text = pointer & 3 == LIST and pointer >> 32 & 7 == OF_BYTES
        if not is_text or not 0 < length <= LONGEST_TEXT + 1:
            raise Unusual("a text that is none, or is long")
        start = WORD * (place + 1 + offset)
        if start < self._start:
            raise Unusual("a text before the texts")
        return start, length
