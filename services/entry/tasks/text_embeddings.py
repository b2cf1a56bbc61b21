"""Text embeddings: texts in, one vector for each out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libs.common import wire
from libs.common.envelope import InferReply, Units
from services.entry.tasks.base import ParsedInput, Result, Task, needed
from services.entry.tasks.schema import Schema

TEXT = {"type": "string", "minLength": 1}

SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "text": {"anyOf": [TEXT, {"type": "array", "minItems": 1, "maxItems": 100, "items": TEXT}]},
        "pooling": {"type": "string", "enum": ["mean", "cls"], "default": "mean"},
    },
    "required": ["text"],
}


class TextEmbeddings(Task):
    """Sends `text` BYTES[n] and reads `embedding` FP32[n, dimensions]."""

    name = "text-embeddings"
    schema = SCHEMA

    def parse(self, body: Mapping[str, Any]) -> ParsedInput:
        """Check the fields, and make one text a list of one."""
        values = self.input.read(body)
        if isinstance(values["text"], str):
            values["text"] = [values["text"]]
        return ParsedInput(
            values=values, units=Units(input_characters=sum(map(len, values["text"])))
        )

    def payload(self, parsed: ParsedInput, *, stream: bool, adapter: str) -> bytes:
        """Write the texts; how to pool only where it is not the default."""
        tensors = [wire.text(self.tensor("text"), *parsed.values["text"])]
        if parsed.values["pooling"] != "mean":  # so that models need not know the tensor
            tensors.append(wire.text(self.tensor("pooling"), parsed.values["pooling"]))
        return wire.tensors_to_payload(tensors)

    def render(self, parsed: ParsedInput, reply: InferReply) -> Result:
        """Return the vectors; `data` is an array of numpy, which the fronts write as it is."""
        vectors = needed(self.outputs(reply.payload), "embedding").array()
        pooling = parsed.values["pooling"]
        return {"shape": list(vectors.shape), "data": vectors, "pooling": pooling}
