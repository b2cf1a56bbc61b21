"""@cf/demo/image-text-to-text in Triton's python backend: answers a question about a picture."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # where the package `demo` is

from demo.describing import reply
from demo.tensors import Inputs, Outputs, texts
from demo.triton import DemoModel


class TritonPythonModel(DemoModel):
    """A picture and a prompt to a text."""

    def answer(self, inputs: Inputs) -> Outputs:
        """Return a description, or the answer to what the prompt asks."""
        image, prompt = inputs.data("image"), inputs.text("prompt")
        return {"text": texts(reply(image, prompt, inputs.text("sampling_parameters")))}
