"""@cf/demo/object-detection in Triton's python backend: the coloured shapes, with their boxes."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # where the package `demo` is

import numpy as np

from demo import pictures, seeing
from demo.tensors import Inputs, Outputs, floats, texts
from demo.triton import DemoModel


class TritonPythonModel(DemoModel):
    """A picture to labels, scores and boxes."""

    def answer(self, inputs: Inputs) -> Outputs:
        """Return what is found, from the largest."""
        found = seeing.look(pictures.read(inputs.data("image"))).shapes
        boxes = [(b.left, b.top, b.right, b.bottom) for b in (each.box for each in found)]
        return {
            "label": texts(*(each.label for each in found)),
            "score": floats(each.score for each in found),
            "box": np.array(boxes, np.float32).reshape(-1, 4),
        }
