"""@cf/demo/dumb-pipe in Triton's python backend: what comes in goes out, and is called the same."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # where the package `demo` is

from demo.tensors import Inputs, Outputs, blobs, texts
from demo.triton import DemoModel


class TritonPythonModel(DemoModel):
    """Bytes to the same bytes."""

    def answer(self, inputs: Inputs) -> Outputs:
        """Return the body under the content type that it came with."""
        content_type = inputs.text("content_type", "application/octet-stream")
        return {"body": blobs(inputs.data("body")), "content_type": texts(content_type)}
