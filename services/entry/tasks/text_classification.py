"""Text classification: a text in, labels out; or a query and contexts in, how well each fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libs.common import wire
from libs.common.envelope import InferReply, Units
from libs.common.wire import Tensor
from services.entry.tasks.base import ParsedInput, Rendered
from services.entry.tasks.contexts import CONTEXTS, characters, check_query, texts_of
from services.entry.tasks.schema import Schema
from services.entry.tasks.tensor_task import Kinds, TensorTask, exactly_one
from services.entry.tasks.told import RANKED, SCORED, column_in, ranked, scored

SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "minLength": 1},
        "query": {"type": "string", "minLength": 1},
        "contexts": CONTEXTS,
        "top_k": {"type": "integer", "minimum": 1},
    },
    "oneOf": [{"required": ["text"]}, {"required": ["query", "contexts"]}],
}
OUTPUT: Schema = {"anyOf": [SCORED, RANKED]}
NEEDED: Kinds = {"text": "BYTES", "query": "BYTES"}


class TextClassification(TensorTask):
    """Sends `text`, or `query` and `contexts`; reads `label` and `score`, or `score`."""

    name = "text-classification"
    schema = SCHEMA
    output = OUTPUT
    needed = NEEDED

    def parse(self, body: Mapping[str, Any]) -> ParsedInput:
        """Check that it is one of the two forms."""
        exactly_one(body, "text", "query")
        check_query(body)
        return super().parse(body)

    def units(self, values: Mapping[str, Any], files: Mapping[str, bytes]) -> Units:
        """Price the characters."""
        return Units(input_characters=characters(values, "text", "query"))

    def tensors(self, values: Mapping[str, Any]) -> list[Tensor]:
        """Add the contexts."""
        tensors = super().tensors(values)
        if "query" in values:
            tensors.append(wire.text(self.tensor("contexts"), *texts_of(values)))
        return tensors

    def render(self, parsed: ParsedInput, reply: InferReply) -> Rendered:
        """Return the labels, or the contexts' places, the best first."""
        tensors, values = self.outputs(reply.payload), parsed.values
        if "query" not in values:
            return scored(tensors)
        count = len(values["contexts"])
        return ranked(column_in(tensors, "score", count), values.get("top_k", count))
