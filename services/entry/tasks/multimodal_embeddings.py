"""Multimodal embeddings: texts and a picture in, a vector for each out, all in one space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libs.common.envelope import InferReply, Units
from services.entry.bad_input import bad_input
from services.entry.tasks.base import ParsedInput, Rendered
from services.entry.tasks.media import FILE
from services.entry.tasks.schema import Schema
from services.entry.tasks.tensor_task import Kinds, TensorTask
from services.entry.tasks.text_embeddings import TEXT, TEXTS
from services.entry.tasks.told import numbers_in

SCHEMA: Schema = {
    "type": "object",
    "properties": {"text": {"anyOf": [TEXT, TEXTS]}, "image": FILE},
    "anyOf": [{"required": ["text"]}, {"required": ["image"]}],
}
OUTPUT: Schema = {
    "type": "object",
    "properties": {
        "data": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        "shape": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["data", "shape"],
}
OPTIONAL: Kinds = {"text": "BYTES", "image": "BYTES"}


class MultimodalEmbeddings(TensorTask):
    """Sends `text` BYTES[n] and `image`, and reads `embedding`, whose last row is the image's."""

    name = "multimodal-embeddings"
    schema = SCHEMA
    output = OUTPUT
    raw_field = "image"
    optional = OPTIONAL
    images = ("image",)

    def parse(self, body: Mapping[str, Any]) -> ParsedInput:
        """Check that there is something to embed."""
        if "text" not in body and "image" not in body:
            raise bad_input(["text"], "expected at least one of text and image")
        return super().parse(body)

    def units(self, values: Mapping[str, Any], files: Mapping[str, bytes]) -> Units:
        """Price the characters."""
        texts = values.get("text", [])
        return Units(
            input_characters=len(texts) if isinstance(texts, str) else sum(map(len, texts))
        )

    def render(self, parsed: ParsedInput, reply: InferReply) -> Rendered:
        """Return the vectors; `data` is an array of numpy, which the fronts write as it is."""
        texts = parsed.values.get("text", [])
        count = (1 if isinstance(texts, str) else len(texts)) + ("image" in parsed.values)
        vectors = numbers_in(self.outputs(reply.payload), "embedding", count)
        return {"data": vectors, "shape": list(vectors.shape)}
