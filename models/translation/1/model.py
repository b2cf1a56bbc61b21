"""@cf/demo/translation in Triton's python backend: word by word, from the dictionary beside it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # where the package `demo` is

from demo.tensors import Inputs, Outputs, count, texts
from demo.translation import Dictionary
from demo.triton import DemoModel


class TritonPythonModel(DemoModel):
    """A text to its words in another language."""

    def load(self, folder: Path) -> None:
        """Read the dictionary."""
        self._dictionary = Dictionary.read(folder / "words.tsv")

    def answer(self, inputs: Inputs) -> Outputs:
        """Return the translation."""
        text = inputs.text("text")
        translated = self._dictionary.translate(
            text, inputs.text("source_lang", "en"), inputs.text("target_lang")
        )
        return {"translated_text": texts(translated), "num_tokens": count(len(text.split()))}
