"""Token counts, from the tensors that the catalog names."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from google.protobuf.message import DecodeError

from libs.common import wire
from libs.common.answers import AnswerReader
from libs.common.catalog import Model
from libs.common.part_reader import PartReader
from libs.common.wire import Tensor
from services.server import body_tokens

# vLLM's backend gives `num_output_tokens` of each part alone, the others the total so far.
COUNTS_PER_PART: Final = frozenset({"vllm"})
# A model may answer anything: what cannot be read tells no tokens.
ENOUGH: Final = 4  # parts that come together, to be read at once
READ_TOGETHER: Final = 16  # parts: to read one by itself costs as much as ten
LARGEST_KEPT: Final = 1024  # bytes; what is larger is read at once, and let go
UNREADABLE: Final = (DecodeError, KeyError, IndexError, ValueError, OverflowError, struct.error)


class TokenReader:
    """Reads what a model says that it used; one for all its calls, whose answers look alike."""

    __slots__ = ("_answers", "_is_http", "_tokens_in", "_tokens_out", "model", "parts")

    def __init__(self, model: Model) -> None:
        self.model = model
        backend = model.backend
        self._tokens_in, self._tokens_out = backend.usage.tokens_in, backend.usage.tokens_out
        self._answers = AnswerReader()
        self._is_http = backend.kind == "openai_http"
        self.parts: PartReader[int] | None = None  # where each part tells its own
        per_part = backend.dialect in COUNTS_PER_PART and not self._is_http
        if self._tokens_out and per_part:
            text = backend.tensors.get("text_output", "text_output")
            self.parts = PartReader(text, self._tokens_of)

    def __repr__(self) -> str:
        return f"<TokenReader in={self._tokens_in!r} out={self._tokens_out!r}>"

    def read(self, payload: bytes, *, parts: int = 1) -> tuple[int, int]:
        """Return tokens in and out, as a whole answer or the last of some parts tells them.

        Where the model says nothing of tokens, or nothing that can be read, parts count.
        """
        if self._is_http:
            return body_tokens.tokens_of(payload, parts=parts)
        if not self._tokens_in and not self._tokens_out:
            return 0, parts
        tokens_in = tokens_out = None
        try:
            tensors = self._answers.read(payload)
            tokens_in = wire.total(tensors.get(self._tokens_in))
            if self._tokens_out:
                tokens_out = wire.total(tensors.get(self._tokens_out))
        except UNREADABLE:
            pass
        if not self._tokens_out:  # a model that makes no tokens, such as one that embeds
            return tokens_in or 0, 0
        return tokens_in or 0, parts if tokens_out is None else tokens_out

    def _tokens_of(self, tensors: Mapping[str, Tensor]) -> int:
        """Return a part's tokens, -1 where it tells none."""
        found = wire.total(tensors.get(self._tokens_out))
        return -1 if found is None else found


class TokenCounter:
    """Adds up the parts of one stream, some of them together."""

    __slots__ = ("_added", "_last", "_parts", "_reader", "_unread", "bytes_out")

    def __init__(self, reader: TokenReader) -> None:
        self._reader = reader
        self._unread: list[bytes] = []
        self._parts = 0
        self._last = b""
        self._added: int | None = None
        self.bytes_out = 0  # of what `totals` knows of

    def __repr__(self) -> str:
        return f"<TokenCounter parts={self._parts} unread={len(self._unread)}>"

    def see(self, payloads: Sequence[bytes]) -> None:
        """Take in some parts."""
        unread = self._unread
        if len(payloads) >= ENOUGH and not unread:
            self._read(payloads)
            return
        unread += payloads
        if len(unread) >= READ_TOGETHER or len(unread[-1]) > LARGEST_KEPT:
            self._read_on()

    def _read_on(self) -> None:
        unread, self._unread = self._unread, []
        self._read(unread)

    def _read(self, payloads: Sequence[bytes]) -> None:
        self._parts += len(payloads)
        self._last = payloads[-1]
        size = 0
        for payload in payloads:  # compiled, that costs less than a sum
            size += len(payload)
        self.bytes_out += size
        if self._reader.parts is None:
            return
        try:
            read = self._reader.parts.read(payloads)
        except UNREADABLE:
            read = self._readable(payloads)
        for texts, tokens in read:
            if tokens >= 0:
                self._added = (self._added or 0) + tokens * len(texts)

    def _readable(self, payloads: Sequence[bytes]) -> list[tuple[list[bytes], int]]:
        """Read what can be read, one by one: a model may answer anything."""
        assert self._reader.parts is not None
        read = []
        for payload in payloads:
            with suppress(*UNREADABLE):
                read += self._reader.parts.read((payload,))
        return read

    def totals(self) -> tuple[int, int]:
        """Return tokens in and out."""
        if self._unread:
            self._read_on()
        tokens_in, tokens_out = self._reader.read(self._last, parts=self._parts)
        if self._reader.parts is not None:
            tokens_out = self._parts if self._added is None else self._added
        return tokens_in, tokens_out
