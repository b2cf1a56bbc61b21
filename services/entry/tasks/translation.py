"""Translation: a text in one language in, the same in another out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libs.common.envelope import InferReply, Units
from services.entry.tasks.base import ParsedInput, Rendered
from services.entry.tasks.schema import Schema
from services.entry.tasks.tensor_task import Kinds, TensorTask
from services.entry.tasks.told import text_in, text_said

LANGUAGE: Schema = {"type": "string", "minLength": 2, "maxLength": 35}
SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "minLength": 1},
        "source_lang": {**LANGUAGE, "default": "en"},
        "target_lang": LANGUAGE,
    },
    "required": ["text", "target_lang"],
}
NEEDED: Kinds = {"text": "BYTES", "source_lang": "BYTES", "target_lang": "BYTES"}


class Translation(TensorTask):
    """Sends `text`, `source_lang` and `target_lang`, and reads `translated_text`."""

    name = "translation"
    schema = SCHEMA
    output = text_said("translated_text")
    needed = NEEDED

    def units(self, values: Mapping[str, Any], files: Mapping[str, bytes]) -> Units:
        """Price the characters."""
        return Units(input_characters=len(values["text"]))

    def render(self, parsed: ParsedInput, reply: InferReply) -> Rendered:
        """Return the translation."""
        return {"translated_text": text_in(self.outputs(reply.payload), "translated_text")}
