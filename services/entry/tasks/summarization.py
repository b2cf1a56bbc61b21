"""Summarization: a long text in, a short one out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libs.common.envelope import InferReply, Units
from services.entry.tasks.base import ParsedInput, Rendered
from services.entry.tasks.schema import Schema
from services.entry.tasks.tensor_task import Kinds, TensorTask
from services.entry.tasks.told import text_in, text_said

SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "input_text": {"type": "string", "minLength": 1},
        "max_length": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1, "default": 1024},
    },
    "required": ["input_text"],
}
NEEDED: Kinds = {"input_text": "BYTES", "max_length": "INT32"}


class Summarization(TensorTask):
    """Sends `input_text` and `max_length`, and reads `summary`."""

    name = "summarization"
    schema = SCHEMA
    output = text_said("summary")
    needed = NEEDED

    def units(self, values: Mapping[str, Any], files: Mapping[str, bytes]) -> Units:
        """Price the characters."""
        return Units(input_characters=len(values["input_text"]))

    def render(self, parsed: ParsedInput, reply: InferReply) -> Rendered:
        """Return the summary."""
        return {"summary": text_in(self.outputs(reply.payload), "summary")}
