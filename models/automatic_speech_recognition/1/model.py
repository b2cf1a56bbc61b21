"""@cf/demo/automatic-speech-recognition in Triton's python backend: understands tones."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # where the package `demo` is

import numpy as np

from demo import sound, tones
from demo.tensors import BadInput, Inputs, Outputs, floats, texts
from demo.triton import DemoModel

LONGEST_S = 600


class TritonPythonModel(DemoModel):
    """What @cf/demo/text-to-speech said, to its text."""

    def answer(self, inputs: Inputs) -> Outputs:
        """Return the text and when each word was said; the options change nothing."""
        heard = sound.read(inputs.data("audio"))
        if heard.seconds > LONGEST_S:
            raise BadInput(f"audio: at most {LONGEST_S} seconds, not {heard.seconds:.0f}")
        said = tones.hear(heard)
        times = [(word.start, word.end) for word in said.words]
        return {
            "text": texts(said.text),
            "words": texts(*(word.text for word in said.words)),
            "word_times": np.array(times, np.float32).reshape(-1, 2),
            "duration": floats([heard.seconds]),
        }
