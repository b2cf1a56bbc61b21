"""Token counts of one call, from the tensors that the catalog names."""

from __future__ import annotations

from libs.common import wire
from libs.common.catalog import Model, UsageTensors

# vLLM's backend gives `num_output_tokens` of each part alone, the others the total so far.
COUNTS_PER_PART = frozenset({"vllm"})


class TokenCounter:
    """Adds up what a model says that it used; without such tensors, counts parts."""

    def __init__(self, model: Model | None) -> None:
        self._usage = model.backend.usage if model else UsageTensors()
        self._adds_up = model is not None and model.backend.dialect in COUNTS_PER_PART
        self._parts = 0
        self._last = b""
        self._out = 0
        self.bytes_out = 0

    def see(self, payload: bytes) -> None:
        """Take in an answer or a part of one."""
        self._parts += 1
        self.bytes_out += len(payload)
        self._last = payload
        if self._adds_up and self._usage.tokens_out:
            self._out += wire.count(wire.payload_to_tensors(payload), self._usage.tokens_out) or 0

    def totals(self) -> tuple[int, int]:
        """Return tokens in and out."""
        if not self._parts or not (self._usage.tokens_in or self._usage.tokens_out):
            return 0, self._parts
        tensors = wire.payload_to_tensors(self._last)
        tokens_in = wire.count(tensors, self._usage.tokens_in) or 0
        if self._adds_up or not self._usage.tokens_out:
            return tokens_in, self._out
        found = wire.count(tensors, self._usage.tokens_out)
        return tokens_in, self._parts if found is None else found
