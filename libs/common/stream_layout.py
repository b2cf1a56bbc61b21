"""Parts of a text stream, read without decoding them: the first one shows how the others look.

All parts of one stream begin with the same bytes (the model's name, the id, the
tensors' names and shapes); then come the text and, after it, tensors that say one of a
few things. So what the rest means is looked up by its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from libs.common.pb import kserve_pb2 as kserve
from libs.common.varint import read_varint, varint
from libs.common.wire import Tensor, payload_to_tensors

T = TypeVar("T")
RAW_OUTPUT = b"\x32"  # field 6 of a ModelInferResponse, as bytes
PREFIX_BYTES = 4  # a BYTES element has its length before it
MOST_TAILS = 64
NEVER = b"\xff"  # no message begins so


class PartReader(Generic[T]):
    """Reads the parts of one stream: the text of its first tensor, and what the rest means."""

    def __init__(self, text: str, meaning: Callable[[Mapping[str, Tensor]], T]) -> None:
        """`text` names the tensor; `meaning` must not look at it."""
        self._text = text
        self._meaning = meaning
        self._head = NEVER
        self._tails: dict[bytes, T] = {}

    def __repr__(self) -> str:
        return f"<PartReader of {self._text} head={len(self._head)} tails={len(self._tails)}>"

    def read(self, payload: bytes) -> tuple[bytes, T]:
        """Return text and meaning; KeyError without the tensor, DecodeError for what is no part."""
        head = self._head
        if payload.startswith(head):
            at = len(head)
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
        if text.shape == (1,):
            self._learn(payload, text, meaning)
        return b"".join(text.texts()), meaning

    def _learn(self, payload: bytes, text: Tensor, meaning: T) -> None:
        """Remember this part's looks, if the text stands first and nothing is out of order."""
        response = kserve.ModelInferResponse.FromString(payload)
        raws = response.raw_output_contents
        written = [RAW_OUTPUT + varint(len(raw)) + raw for raw in raws]
        contents = b"".join(written)
        if raws[0] != text.data or not payload.endswith(contents):
            return
        head = payload[: len(payload) - len(contents)] + RAW_OUTPUT
        if head != self._head:
            self._head = head
            self._tails.clear()
        if len(self._tails) < MOST_TAILS:
            self._tails[contents[len(written[0]) :]] = meaning
