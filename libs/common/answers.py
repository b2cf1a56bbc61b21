"""Answers of a model, read by their bytes: how they look is learnt from the first.

All that a model answers begins alike: its name, an id, the tensors' names and shapes.
Only what is new is looked at: the id is stepped over, and the tensors' contents are cut out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from libs.common.pb import kserve_pb2 as kserve
from libs.common.varint import read_varint, varint
from libs.common.wire import Tensor, payload_to_tensors, total

RAW_OUTPUT: Final = 0x32  # field 6 of a ModelInferResponse, as bytes
MOST_IN_ONE_BYTE: Final = 127  # of a varint


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
    return _the_one(Layout(head, payload[after_at:contents_at], after_at, contents_at, tensors))


@lru_cache(maxsize=1024)
def _the_one(layout: Layout) -> Layout:
    """Return the same object for equal layouts, so that to compare them costs nothing."""
    return layout


def tensors_in(payload: bytes, layout: Layout, only: str = "") -> dict[str, Tensor] | None:
    """Return all tensors, or one; None for an answer that looks otherwise or does not add up."""
    if not (
        payload.startswith(layout.before) and payload.startswith(layout.after, layout.after_at)
    ):
        return None
    found: dict[str, Tensor] = {}
    at = layout.contents_at
    try:
        for name, datatype, shape in layout.tensors:
            size = payload[at + 1]
            if payload[at] != RAW_OUTPUT:
                return None
            at += 2
            if size > MOST_IN_ONE_BYTE:
                size, at = read_varint(payload, at - 1)
            if not only or name == only:
                found[name] = Tensor(name, datatype, shape, payload[at : at + size])
            at += size
    except IndexError:  # it is cut short
        return None
    return found if at == len(payload) else None


class AnswerReader:
    """Reads the answers of one model; knows how the last one that was new to it looked."""

    def __init__(self) -> None:
        self._layout: Layout | None = None

    def __repr__(self) -> str:
        return f"<AnswerReader of {self._layout.tensors if self._layout else 'nothing yet'}>"

    def read(self, payload: bytes) -> Mapping[str, Tensor]:
        """Return the tensors by name; DecodeError for what is no answer."""
        layout = self._layout
        found = None if layout is None else tensors_in(payload, layout)
        return self._decode(payload) if found is None else found

    def tensor(self, payload: bytes, name: str) -> Tensor | None:
        """Return one tensor, None where the answer has none of that name; DecodeError as `read`."""
        layout = self._layout
        found = None if layout is None else tensors_in(payload, layout, name)
        return (self._decode(payload) if found is None else found).get(name)

    def whole_number(self, payload: bytes, name: str) -> int | None:
        """Return what a counting tensor adds up to, None where there is none; DecodeError."""
        return total(self.tensor(payload, name))

    def _decode(self, payload: bytes) -> Mapping[str, Tensor]:
        """Read what looks new, and learn how it looks."""
        self._layout = layout_of(payload)
        return payload_to_tensors(payload)
