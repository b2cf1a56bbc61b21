"""The texts of Cap'n Proto messages of one struct, by one `struct.unpack` each.

Where a message's texts lie, its pointers say; and messages of one model have the same pointers,
but for ids of other lengths. So those bytes are the name of a shape, which is worked out and
checked once. Of texts that come again, and most do, each is decoded once a batch.

The format is at https://capnproto.org/encoding.html.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

WORD = 8
LONGEST_TEXT = 1024  # in bytes; a longer one is unusual
MOST_SHAPES = 1024  # a few hundred bytes each
OFFSET = (1 << 30) - 1
LIST, OF_BYTES = 1, 2  # what a pointer points to, and how large the elements are


class Unusual(Exception):
    """Something that only codec.py reads, or refuses."""


class _Shape(NamedTuple):
    """Where the texts of some messages lie."""

    unpack: Callable[..., tuple[bytes, ...]]  # in the order in which they lie there
    in_order: Callable[[Sequence[str]], tuple[str, ...]]
    end: int  # of the last, in words from the message's start


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

    def __init__(self, places: Sequence[int]) -> None:
        """`places` are the pointers', in words from a message's start."""
        self._places = tuple(places)
        self._shapes: dict[bytes, _Shape] = {}

    def read(
        self, body: bytes, starts: npt.NDArray[Any], sizes: npt.NDArray[Any], pointers: bytes
    ) -> npt.NDArray[Any]:
        """Return a row for each message, its texts in the pointers' order. Raises Unusual.

        `starts` and `sizes` of the messages are in words, `pointers` are theirs one after another.
        """
        width = WORD * len(self._places)
        decoded = _Decoded().__getitem__
        found: list[str] = []
        for n, (start, size) in enumerate(zip(starts.tolist(), sizes.tolist(), strict=True)):
            key = pointers[n * width : (n + 1) * width]
            shape = self._shapes.get(key) or self._new_shape(key)
            if shape.end > size:
                raise Unusual("a text beyond its message")
            texts = list(map(decoded, shape.unpack(body, WORD * start)))
            found += shape.in_order(texts)
        return np.array(found, dtype=object).reshape(len(starts), len(self._places))

    def _new_shape(self, pointers: bytes) -> _Shape:
        if len(self._shapes) >= MOST_SHAPES:
            self._shapes.clear()
        shape = self._shapes[pointers] = self._lay_out(pointers)
        return shape

    def _lay_out(self, pointers: bytes) -> _Shape:
        each = struct.unpack(f"<{len(self._places)}Q", pointers)
        spans = [_span(place, there) for place, there in zip(self._places, each, strict=True)]
        order = sorted(range(len(spans)), key=spans.__getitem__)
        formats, end = ["<"], 0
        for start, length in map(spans.__getitem__, order):
            if start < end:
                raise Unusual("texts that lie in one another")
            formats.append(f"{start - end}x{length}s")
            end = start + length
        in_order = itemgetter(*sorted(range(len(order)), key=order.__getitem__))
        return _Shape(struct.Struct("".join(formats)).unpack_from, in_order, -(-end // WORD))


def _span(place: int, pointer: int) -> tuple[int, int]:
    """Return where a pointer's text begins, in bytes, and its length with the zero at its end."""
    if not pointer:
        return 0, 0
    offset, length = pointer >> 2 & OFFSET, pointer >> 35
    is_text = pointer & 3 == LIST and pointer >> 32 & 7 == OF_BYTES
    if not is_text or not 0 < length <= LONGEST_TEXT + 1:
        raise Unusual("a text that is none, or is long")
    return WORD * (place + 1 + offset), length
