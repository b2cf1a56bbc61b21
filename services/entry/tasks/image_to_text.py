"""Image to text: a picture in, and a question if there is one; what it shows out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import orjson

from libs.common import wire
from libs.common.catalog import TaskName
from libs.common.envelope import InferReply, Units
from libs.common.wire import Tensor
from services.entry.tasks.base import ParsedInput, Rendered
from services.entry.tasks.media import FILE
from services.entry.tasks.schema import Schema
from services.entry.tasks.tensor_task import Kinds, TensorTask
from services.entry.tasks.told import text_in, text_said

PENALTY: Schema = {"type": "number", "minimum": -2, "maximum": 2}
SAMPLING: Final[Mapping[str, Schema]] = {
    "max_tokens": {"type": "integer", "minimum": 1, "default": 512},
    "temperature": {"type": "number", "minimum": 0, "maximum": 5},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "top_k": {"type": "integer", "minimum": 1, "maximum": 50},
    "seed": {"type": "integer", "minimum": 1, "maximum": 9_999_999_999},
    "repetition_penalty": {"type": "number", "minimum": 0, "maximum": 2},
    "frequency_penalty": PENALTY,
    "presence_penalty": PENALTY,
}
PROMPT: Schema = {"type": "string", "minLength": 1}
SCHEMA: Schema = {
    "type": "object",
    "properties": {"image": FILE, "prompt": PROMPT, **SAMPLING},
    "required": ["image"],
}
NEEDED: Kinds = {"image": "BYTES"}
OPTIONAL: Kinds = {"prompt": "BYTES"}


class ImageToText(TensorTask):
    """Sends `image`, `prompt` and how to sample if that was said, and reads `text`."""

    name: ClassVar[TaskName] = "image-to-text"
    schema = SCHEMA
    output = text_said("description")
    raw_field = "image"
    needed = NEEDED
    optional = OPTIONAL
    elsewhere = tuple(SAMPLING)
    images = ("image",)

    def units(self, values: Mapping[str, Any], files: Mapping[str, bytes]) -> Units:
        """Price the characters."""
        return Units(input_characters=len(values.get("prompt", "")))

    def tensors(self, values: Mapping[str, Any]) -> list[Tensor]:
        """Add how to sample, in JSON."""
        tensors = super().tensors(values)
        said = {name: values[name] for name in SAMPLING if name in values}
        if said:
            tensors.append(wire.text(self.tensor("sampling_parameters"), orjson.dumps(said)))
        return tensors

    def render(self, parsed: ParsedInput, reply: InferReply) -> Rendered:
        """Return the description."""
        return {"description": text_in(self.outputs(reply.payload), "text")}
