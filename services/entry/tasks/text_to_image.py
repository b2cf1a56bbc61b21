"""Text to image: a prompt in, a picture out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pybase64

from libs.common.envelope import InferReply, Units
from services.entry.bad_input import bad_input
from services.entry.tasks.base import Binary, ParsedInput, Rendered
from services.entry.tasks.media import FILE, content_type_of
from services.entry.tasks.schema import Schema
from services.entry.tasks.tensor_task import Kinds, TensorTask
from services.entry.tasks.told import bytes_in, text_said

SIDE: Schema = {"type": "integer", "minimum": 256, "maximum": 2048}
STEPS: Schema = {"type": "integer", "minimum": 1, "maximum": 20}
SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string", "minLength": 1, "maxLength": 2048},
        "negative_prompt": {"type": "string", "maxLength": 2048},
        "height": SIDE,
        "width": SIDE,
        "num_steps": {**STEPS, "default": 20},
        "steps": STEPS,
        "strength": {"type": "number", "minimum": 0, "maximum": 1, "default": 1},
        "guidance": {"type": "number", "minimum": 0, "maximum": 100, "default": 7.5},
        "seed": {"type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_991},
        "image": FILE,
        "image_b64": FILE,
        "mask": FILE,
    },
    "required": ["prompt"],
}
PICTURE: Final[Schema] = {
    "type": "string",
    "format": "binary",
    "contentMediaType": "image/png",
    "description": "a PNG or JPEG, as the model draws",
}
SAME: Final = {"steps": "num_steps", "image_b64": "image"}  # other names of fields
PRICED_SIDE: Final = 512  # where the model chooses
OUTPUT: Schema = {"anyOf": [PICTURE, text_said("image")]}
NEEDED: Kinds = {"prompt": "BYTES"}
OPTIONAL: Kinds = {
    "negative_prompt": "BYTES",
    "height": "INT32",
    "width": "INT32",
    "num_steps": "INT32",
    "strength": "FP32",
    "guidance": "FP32",
    "seed": "INT64",
    "image": "BYTES",
    "mask": "BYTES",
}


class TextToImage(TensorTask):
    """Sends `prompt` and what else was said, and reads `image`."""

    name = "text-to-image"
    schema = SCHEMA
    output = OUTPUT
    may_be_binary = True
    needed = NEEDED
    optional = OPTIONAL
    images = ("image", "image_b64", "mask")

    def output_schema(self) -> Schema:
        """Return the schema of the picture, or of the base64 around it."""
        return text_said("image") if self.model.base64_answers else PICTURE

    def parse(self, body: Mapping[str, Any]) -> ParsedInput:
        """Give fields of two names their one."""
        for other, name in SAME.items():
            if other in body and name in body:
                raise bad_input([other], f"the same as {name}: expected one of them")
        parsed = super().parse(body)
        values = {SAME.get(name, name): value for name, value in parsed.values.items()}
        return ParsedInput(values=values, units=parsed.units)

    def units(self, values: Mapping[str, Any], files: Mapping[str, bytes]) -> Units:
        """Price the picture's size and the steps to it."""
        pixels = values.get("height", PRICED_SIDE) * values.get("width", PRICED_SIDE)
        return Units(
            input_characters=len(values["prompt"]),
            pixels=pixels,
            steps=values.get("steps", values["num_steps"]),
        )

    def render(self, parsed: ParsedInput, reply: InferReply) -> Rendered:
        """Return the picture, or base64 of it."""
        image = bytes_in(self.outputs(reply.payload), "image")
        if self.model.base64_answers:
            return {"image": pybase64.b64encode(image).decode()}
        return Binary(image, content_type_of(image))
