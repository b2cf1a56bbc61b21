"""@cf/demo/multimodal-embeddings in Triton's python backend: texts and a picture in one space."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # where the package `demo` is

import numpy as np

from demo import pictures, seeing, vectors
from demo.tensors import BadInput, Inputs, Outputs
from demo.triton import DemoModel


class TritonPythonModel(DemoModel):
    """Texts and a picture to vectors of length 1."""

    def answer(self, inputs: Inputs) -> Outputs:
        """Return the texts' vectors, and after them the picture's."""
        rows = [vectors.of_text(text) for text in inputs.texts("text")]
        if "image" in inputs:
            rows.append(vectors.of_view(seeing.look(pictures.read(inputs.data("image")))))
        if not rows:
            raise BadInput("text: at least one text, or an image, is wanted")
        return {"embedding": np.stack(rows)}
