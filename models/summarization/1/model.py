"""@cf/demo/summarization in Triton's python backend: the sentences that say most."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # where the package `demo` is

from demo.summary import summarize
from demo.tensors import Inputs, Outputs, count, texts
from demo.triton import DemoModel

MOST_WORDS = 1024


class TritonPythonModel(DemoModel):
    """A text to a shorter one."""

    def answer(self, inputs: Inputs) -> Outputs:
        """Return the summary; a word counts as a token of `max_length`."""
        text = inputs.text("input_text")
        summary = summarize(text, most_words=max(1, inputs.integer("max_length", MOST_WORDS)))
        return {"summary": texts(summary), "num_tokens": count(len(text.split()))}
