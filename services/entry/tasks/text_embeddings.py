"""Text embeddings: texts in, one vector for each out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libs.common import wire
from libs.common.catalog import Model
from libs.common.envelope import InferReply, PayloadKind, Units
from services.entry.bad_input import bad_input
from services.entry.tasks.base import ParsedInput, Result, Task, Templates, needed
from services.entry.tasks.dialects.openai_vectors import texts_to_body, vectors_in
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
VECTORS: Schema = {
    "type": "object",
    "properties": {
        "shape": {"type": "array", "items": {"type": "integer"}},
        "data": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        "pooling": {"type": "string"},
    },
    "required": ["shape", "data"],
}


class TextEmbeddings(Task):
    """Sends `text` BYTES[n] and reads `embedding` FP32[n, dimensions]."""

    name = "text-embeddings"
    schema = SCHEMA
    output = VECTORS

    def __init__(self, model: Model, templates: Templates) -> None:
        """Look up what is the same for every call."""
        super().__init__(model, templates)
        self._text = self.tensor("text")
        self._embedding = self.tensor("embedding")
        self._is_http = model.backend.kind == "openai_http"
        if self._is_http:
            self.payload_kind = PayloadKind.HTTP_BODY

    def parse(self, body: Mapping[str, Any]) -> ParsedInput:
        """Check the fields, and make one text a list of one."""
        values = self.input.read(body)
        if self._is_http and values["pooling"] != "mean":
            raise bad_input(["pooling"], "this model pools as its server does")
        texts = values["text"]
        if isinstance(texts, str):
            characters = len(texts)
            values["text"] = [texts]
        else:
            characters = sum(map(len, texts))
        return ParsedInput(values=values, units=Units(input_characters=characters))

    def payload(self, parsed: ParsedInput, *, stream: bool, adapter: str) -> bytes:
        """Write the texts; how to pool only where it is not the default."""
        texts, pooling = parsed.values["text"], parsed.values["pooling"]
        if self._is_http:
            return texts_to_body(adapter or self.model.served_as, texts)
        if pooling == "mean":  # so that models need not know the tensor
            return wire.texts_to_payload(self._text, texts)
        how = wire.text(self.tensor("pooling"), pooling)
        return wire.tensors_to_payload((wire.text(self._text, *texts), how))

    def render(self, parsed: ParsedInput, reply: InferReply) -> Result:
        """Return the vectors; `data` is an array of numpy, which the fronts write as it is."""
        pooling = parsed.values["pooling"]
        if self._is_http:
            told = vectors_in(reply.payload)
            return {"shape": list(told.shape), "data": told, "pooling": pooling}
        found = self.answers.tensor(reply.payload, self._embedding)
        vectors = (found or needed(self.outputs(reply.payload), "embedding")).array()
        return {"shape": list(vectors.shape), "data": vectors, "pooling": pooling}
