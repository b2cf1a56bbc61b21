"""Answers of a model, read by their bytes: how they look is learnt from the first.

All that a model answers begins alike: its name, an id, the tensors' names and shapes.
Only what is new is looked at: the id is stepped over, and the tensors' contents are cut out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from msgspec import Struct

from libs.common.pb import kserve_pb2 as kserve
from libs.common.varint import read_varint, varint
from libs.common.wire import Tensor, payload_to_tensors

T = TypeVar("T")
RAW_OUTPUT = 0x32  # field 6 of a ModelInferResponse, as bytes
PREFIX_BYTES = 4  # a BYTES element has its length before it
MOST_TAILS = 64


class Layout(Struct, frozen=True, gc=False):
    """How a model's answers begin: bytes, an id of a fixed length, bytes, then the contents."""

    before: bytes
    after: bytes
    after_at: int
    contents_at: int
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]  # name, datatype, shape

    def fits(self, payload: bytes) -> bool:
        """Whether an answer looks like this."""
        return payload.startswith(self.before) and payload.startswith(self.after, self.after_at)


def layout_of(payload: bytes) -> Layout | None:
    """Learn from an answer; None where its fields are not in the order that everyone writes."""
    response = kserve.ModelInferResponse.FromString(payload)
    contents = b"".join(
        bytes((RAW_OUTPUT,)) + varint(len(raw)) + raw for raw in response.raw_output_contents
    )
    head = kserve.ModelInferResponse(
        model_name=response.model_name, model_version=response.model_version
    ).SerializeToString()
    if response.id:
        head += b"\x1a" + varint(len(response.id.encode()))
    after_at = len(head) + len(response.id.encode())
    contents_at = len(payload) - len(contents)
    if not payload.startswith(head) or payload[contents_at:] != contents or contents_at < after_at:
        return None
    tensors = tuple((each.name, each.datatype, tuple(each.shape)) for each in response.outputs)
    if len(tensors) != len(response.raw_output_contents):
        return None
    return Layout(head, payload[after_at:contents_at], after_at, contents_at, tensors)


class AnswerReader:
    """Reads the answers of one model; knows how the last one that was new to it looked."""

    def __init__(self) -> None:
        self._layout: Layout | None = None

    def __repr__(self) -> str:
        return f"<AnswerReader of {self._layout.tensors if self._layout else 'nothing yet'}>"

    def read(self, payload: bytes) -> Mapping[str, Tensor]:
        """Return the tensors by name; DecodeError for what is no answer."""
        layout = self._layout
        if layout is not None and layout.fits(payload):
            found = _cut(layout, payload)
            if found is not None:
                return found
        self._layout = layout_of(payload)
        return payload_to_tensors(payload)


def _cut(layout: Layout, payload: bytes) -> Mapping[str, Tensor] | None:
    """Return the tensors, None for contents that do not add up."""
    found = {}
    at, end = layout.contents_at, len(payload)
    for name, datatype, shape in layout.tensors:
        if at + 2 > end or payload[at] != RAW_OUTPUT:
            return None
        size = payload[at + 1]
        at += 2
        if size > 127:
            try:
                size, at = read_varint(payload, at - 1)
            except IndexError:
                return None
        found[name] = Tensor(name, datatype, shape, payload[at : at + size])
        at += size
    return found if at == end else None


class PartReader(Generic[T]):
    """Reads the parts of a model's streams: the text of the first tensor, and what the rest means.

    The tensors after the text say one of a few things, which are looked up by their bytes.
    """

    def __init__(self, text: str, meaning: Callable[[Mapping[str, Tensor]], T]) -> None:
        """`text` names the tensor; `meaning` must not look at it."""
        self._text = text
        self._meaning = meaning
        self._layout: Layout | None = None
        self._tails: dict[bytes, T] = {}

    def __repr__(self) -> str:
        return f"<PartReader of {self._text} tails={len(self._tails)}>"

    def read(self, payload: bytes) -> tuple[bytes, T]:
        """Return text and meaning; KeyError without the tensor, DecodeError for what is no part."""
        layout = self._layout
        if (
            layout is not None
            and payload.startswith(layout.before)
            and payload.startswith(layout.after, layout.after_at)
        ):
            at = layout.contents_at + 1
            size = payload[at]
            at += 1
            if size > 127:
                size, at = read_varint(payload, at - 1)
            end = at + size
            found = self._tails.get(payload[end:])
            if found is not None:
                return payload[at + PREFIX_BYTES : end], found
        return self._decode(payload)

    def _decode(self, payload: bytes) -> tuple[bytes, T]:
        tensors = payload_to_tensors(payload)
        meaning = self._meaning(tensors)
        text = tensors[self._text]
        layout = layout_of(payload)
        if layout and layout.tensors[0] == (self._text, "BYTES", (1,)):
            self._learn(payload, layout, len(text.data), meaning)
        return b"".join(text.texts()), meaning

    def _learn(self, payload: bytes, layout: Layout, size: int, meaning: T) -> None:
        if layout != self._layout:
            self._layout = layout
            self._tails.clear()
        if len(self._tails) < MOST_TAILS:
            tail = layout.contents_at + 1 + len(varint(size)) + size
            self._tails[payload[tail:]] = meaning
