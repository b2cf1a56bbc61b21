"""Text embeddings: texts in, one vector for each out; or how alike a query and contexts are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from libs.common import wire
from libs.common.catalog import Model
from libs.common.envelope import InferReply, PayloadKind, Units
from libs.common.errors import ModelFailed
from services.entry.bad_input import bad_input
from services.entry.tasks.base import ParsedInput, Result, Task, Templates, needed
from services.entry.tasks.contexts import CONTEXTS, check_query, texts_of
from services.entry.tasks.dialects.openai_vectors import texts_to_body, vectors_in
from services.entry.tasks.schema import Schema
from services.entry.tasks.told import RANKED, ranked

TEXT: Final[Schema] = {"type": "string", "minLength": 1}
TEXTS: Final[Schema] = {"type": "array", "minItems": 1, "maxItems": 100, "items": TEXT}
SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "text": {"anyOf": [TEXT, TEXTS]},
        "query": TEXT,
        "contexts": CONTEXTS,
        "pooling": {"type": "string", "enum": ["mean", "cls"], "default": "mean"},
    },
    "oneOf": [{"required": ["text"]}, {"required": ["contexts"]}],
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
OUTPUT: Schema = {"anyOf": [VECTORS, RANKED]}


class TextEmbeddings(Task):
    """Sends `text` BYTES[n] and reads `embedding` FP32[n, dimensions]."""

    name = "text-embeddings"
    schema = SCHEMA
    output = OUTPUT

    def __init__(self, model: Model, templates: Templates) -> None:
        """Look up what is the same for every call."""
        super().__init__(model, templates)
        self._text = self.tensor("text")
        self._embedding = self.tensor("embedding")
        self._is_http = model.backend.kind == "openai_http"
        if self._is_http:
            self.payload_kind = PayloadKind.HTTP_BODY

    def parse(self, body: Mapping[str, Any]) -> ParsedInput:
        """Check the fields, and make of them the list of texts that have vectors."""
        if "text" not in body or "contexts" in body:
            _check_form(body)
        values = self.input.read(body)
        if self._is_http and values["pooling"] != "mean":
            raise bad_input(["pooling"], "this model pools as its server does")
        texts = values["text"] if "text" in values else _query_and_contexts(values)
        if isinstance(texts, str):
            characters = len(texts)
            values["text"] = [texts]
        else:
            values["text"] = texts
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
        values = parsed.values
        if self._is_http:
            vectors = vectors_in(reply.payload)
        else:
            found = self.answers.tensor(reply.payload, self._embedding)
            vectors = (found or needed(self.outputs(reply.payload), "embedding")).array()
        if "query" in values and "contexts" in values:
            return ranked(_cosines(vectors, len(values["text"])), len(values["contexts"]))
        return {"shape": list(vectors.shape), "data": vectors, "pooling": values["pooling"]}


def _check_form(body: Mapping[str, Any]) -> None:
    """Say what is missing where it is neither texts nor contexts, or both."""
    check_query(body)
    if "contexts" not in body:
        raise bad_input(["text"], "this field is required")
    if "text" in body:
        raise bad_input(["text"], "expected exactly one of text and contexts")


def _query_and_contexts(values: Mapping[str, Any]) -> list[str]:
    contexts = texts_of(values)
    return [values["query"], *contexts] if "query" in values else contexts


def _cosines(vectors: NDArray[Any], count: int) -> NDArray[Any]:
    """Return how alike the first vector and each of the others are."""
    if vectors.ndim != 2 or len(vectors) != count:
        shape = list(vectors.shape)
        raise ModelFailed(f"the model's embedding is {shape}, not {count} vectors", sent=True)
    lengths = np.linalg.norm(vectors, axis=1)
    lengths[lengths == 0] = 1  # no direction is like any other
    alike: NDArray[Any] = (vectors[1:] @ vectors[0]) / (lengths[1:] * lengths[0])
    return alike
