"""@cf/demo/text-to-image in Triton's python backend: draws the shapes that a prompt names."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # where the package `demo` is

from demo.illustrating import Wish, illustrate
from demo.tensors import Inputs, Outputs, blobs
from demo.triton import DemoModel


class TritonPythonModel(DemoModel):
    """A prompt to a PNG."""

    def answer(self, inputs: Inputs) -> Outputs:
        """Return the picture; `num_steps` and `guidance` change nothing."""
        wish = Wish(
            prompt=inputs.text("prompt"),
            without=inputs.text("negative_prompt"),
            width=inputs.integer("width", 0),
            height=inputs.integer("height", 0),
            seed=inputs.integer("seed", 0),
            strength=inputs.number("strength", 1.0),
            image=inputs.data("image"),
            mask=inputs.data("mask"),
        )
        return {"image": blobs(illustrate(wish))}
