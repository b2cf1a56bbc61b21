"""Token counts of one call, from the tensors that the catalog names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf.message import DecodeError

from libs.common import wire
from libs.common.catalog import Model, UsageTensors
from libs.common.answers import PartReader
from libs.common.wire import Tensor

# vLLM's backend gives `num_output_tokens` of each part alone, the others the total so far.
COUNTS_PER_PART = frozenset({"vllm"})


class TokenCounter:
    """Adds up what a model says that it used; where it says nothing, counts parts."""

    __slots__ = ("_added", "_last", "_parts", "_reader", "_usage", "bytes_out")

    def __init__(self, model: Model | None) -> None:
        self._usage = usage = model.backend.usage if model else UsageTensors()
        self._reader: PartReader[int] | None = None
        if model and usage.tokens_out and model.backend.dialect in COUNTS_PER_PART:
            text = model.backend.tensors.get("text_output", "text_output")
            self._reader = PartReader(text, self._tokens_of)
        self._parts = 0
        self._last = b""
        self._added: int | None = None
        self.bytes_out = 0

    def see(self, payloads: Sequence[bytes]) -> None:
        """Take in an answer or parts of one."""
        self._parts += len(payloads)
        self._last = payloads[-1]
        if self._reader is None:
            self.bytes_out += sum(map(len, payloads))
            return
        for payload in payloads:
            self.bytes_out += len(payload)
            try:
                _, tokens = self._reader.read(payload)
            except (DecodeError, KeyError, ValueError, IndexError):
                continue  # a model may answer anything: what cannot be read tells no tokens
            if tokens >= 0:
                self._added = (self._added or 0) + tokens

    def totals(self) -> tuple[int, int]:
        """Return tokens in and out."""
        if not (self._usage.tokens_in or self._usage.tokens_out):
            return 0, self._parts
        names = (self._usage.tokens_in, self._usage.tokens_out)
        tokens_in, tokens_out = wire.counts(self._last, *names)
        if self._reader:
            tokens_out = self._added
        if not self._usage.tokens_out:  # a model that makes no tokens, such as one that embeds
            return tokens_in or 0, 0
        return tokens_in or 0, self._parts if tokens_out is None else tokens_out

    def _tokens_of(self, tensors: Mapping[str, Tensor]) -> int:
        """Return the part's tokens, -1 where it tells none."""
        found = wire.total(tensors.get(self._usage.tokens_out))
        return -1 if found is None else found
