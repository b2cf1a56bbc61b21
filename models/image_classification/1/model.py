"""@cf/demo/image-classification in Triton's python backend: what a picture shows most of."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # where the package `demo` is

from demo import pictures, seeing
from demo.tensors import Inputs, Outputs, floats, texts
from demo.triton import DemoModel

MOST_LABELS = 5


class TritonPythonModel(DemoModel):
    """A picture to labels and scores."""

    def answer(self, inputs: Inputs) -> Outputs:
        """Return the best labels first."""
        labels = seeing.labels(seeing.look(pictures.read(inputs.data("image"))))[:MOST_LABELS]
        return {
            "label": texts(*(label for label, _ in labels)),
            "score": floats(score for _, score in labels),
        }
