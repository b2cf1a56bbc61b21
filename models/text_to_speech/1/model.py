"""@cf/demo/text-to-speech in Triton's python backend: a text as a sequence of tones."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # where the package `demo` is

from demo.speaking import speak
from demo.tensors import Inputs, Outputs, blobs
from demo.triton import DemoModel


class TritonPythonModel(DemoModel):
    """A text to a WAV file."""

    def answer(self, inputs: Inputs) -> Outputs:
        """Return the sound; `lang`, `speaker` and `bit_rate` change nothing."""
        audio = speak(
            inputs.text("text"),
            encoding=inputs.text("encoding"),
            container=inputs.text("container"),
            rate=inputs.integer("sample_rate", 0),
        )
        return {"audio": blobs(audio)}
