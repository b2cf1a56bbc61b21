"""Token counts of one call, from the tensors that the catalog names."""

from __future__ import annotations

from libs.common import wire
from libs.common.catalog import Model, UsageTensors

# vLLM's backend gives `num_output_tokens` of each part alone, the others the total so far.
COUNTS_PER_PART = frozenset({"vllm"})


class TokenCounter:
    """Adds up what a model says that it used; where it says nothing, counts parts."""

    def __init__(self, model: Model | None) -> None:
        self._usage = model.backend.usage if model else UsageTensors()
        self._adds_up = model is not None and model.backend.dialect in COUNTS_PER_PART
        self._parts = 0
        self._last = b""
        self._added: int | None = None
        self.bytes_out = 0

    def see(self, payload: bytes) -> None:
        """Take in an answer or a part of one."""
        self._parts += 1
        self.bytes_out += len(payload)
        self._last = payload
        if self._adds_up and self._usage.tokens_out:
            (found,) = wire.counts(payload, self._usage.tokens_out)
            if found is not None:
                self._added = (self._added or 0) + found

    def totals(self) -> tuple[int, int]:
        """Return tokens in and out."""
        if not (self._usage.tokens_in or self._usage.tokens_out):
            return 0, self._parts
        names = (self._usage.tokens_in, self._usage.tokens_out)
        tokens_in, tokens_out = wire.counts(self._last, *names)
        if self._adds_up:
            tokens_out = self._added
        if not self._usage.tokens_out:  # a model that makes no tokens, such as one that embeds
            return tokens_in or 0, 0
        return tokens_in or 0, self._parts if tokens_out is None else tokens_out
