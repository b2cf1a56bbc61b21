"""Answers of a model, read by their bytes: how they look is learnt from the first.

All that a model answers begins alike: its name, an id, the tensors' names and shapes.
Only what is new is looked at: the id is stepped over, and the tensors' contents are cut out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from libs.common.pb import kserve_pb2 as kserve
from libs.common.varint import read_varint, varint
from libs.common.wire import Tensor, payload_to_tensors, total

T = TypeVar("T")
RAW_OUTPUT = 0x32  # field 6 of a ModelInferResponse, as bytes
PREFIX_BYTES = 4  # a BYTES element has its length before it
MOST_TAILS = 64


@dataclass(frozen=True)
class Layout:
    """How a model's answers begin: bytes, an id of a fixed length, bytes, then the contents."""

    before: bytes
    after: bytes
    after_at: int
    contents_at: int
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]  # name, datatype, shape


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
        found = self._cut(payload)
        return self._decode(payload) if found is None else found

    def tensor(self, payload: bytes, name: str) -> Tensor | None:
        """Return one tensor, None where the answer has none of that name; DecodeError as `read`."""
        found = self._cut(payload, name)
        if found is None:
            found = self._decode(payload)
        return found.get(name)

    def whole_number(self, payload: bytes, name: str) -> int | None:
        """Return what a counting tensor adds up to, None where there is none; DecodeError."""
        return total(self.tensor(payload, name))

    def _cut(self, payload: bytes, only: str = "") -> Mapping[str, Tensor] | None:
        """Return all tensors, or only one; None for an answer that looks new or does not add up."""
        layout = self._layout
        if (
            layout is None
            or not payload.startswith(layout.before)
            or not payload.startswith(layout.after, layout.after_at)
        ):
            return None
        found = {}
        at = layout.contents_at
        try:
            for name, datatype, shape in layout.tensors:
                size = payload[at + 1]
                if payload[at] != RAW_OUTPUT:
                    return None
                at += 2
                if size > 127:
                    size, at = read_varint(payload, at - 1)
                if not only or name == only:
                    found[name] = Tensor(name, datatype, shape, payload[at : at + size])
                at += size
        except IndexError:  # it is cut short
            return None
        return found if at == len(payload) else None

    def _decode(self, payload: bytes) -> Mapping[str, Tensor]:
        """Read what looks new, and learn how it looks."""
        self._layout = layout_of(payload)
        return payload_to_tensors(payload)


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
        return self.read_all((payload,))[0]

    def read_all(self, payloads: Sequence[bytes]) -> list[tuple[bytes, T]]:
        """Read parts that came together; raises as `read` does, for the first that is bad."""
        layout, tails = self._layout, self._tails
        if layout is None:
            return [self._decode(each) for each in payloads]
        found: list[tuple[bytes, T]] = []
        size_at = layout.contents_at + 1
        known = None  # how a part begins; others of the same stream do, too
        for payload in payloads:
            begins = payload[:size_at]
            if begins == known or (
                payload.startswith(layout.before)
                and payload.startswith(layout.after, layout.after_at)
            ):
                known = begins
                try:
                    size, at = payload[size_at], size_at + 1
                    if size > 127:
                        size, at = read_varint(payload, size_at)
                    text_at, end = at + PREFIX_BYTES, at + size
                    if text_at <= end:
                        found.append((payload[text_at:end], tails[payload[end:]]))
                        continue
                except (IndexError, KeyError):  # it is cut short, or ends in a new way
                    pass
            found.append(self._decode(payload))
        return found

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
            self._layout, self._tails = layout, {}  # anew: who is reading goes on with the old ones
        if len(self._tails) < MOST_TAILS:
            tail = layout.contents_at + 1 + len(varint(size)) + size
            self._tails[payload[tail:]] = meaning
