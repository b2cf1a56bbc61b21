"""Object detection: a picture in, what is where in it out."""

from __future__ import annotations

from typing import Final

from libs.common.envelope import InferReply
from services.entry.tasks.base import ParsedInput, Rendered
from services.entry.tasks.image_classification import SCHEMA
from services.entry.tasks.schema import Schema
from services.entry.tasks.tensor_task import Kinds, TensorTask
from services.entry.tasks.told import column_in, numbers_in, texts_in

SIDES: Final = ("xmin", "ymin", "xmax", "ymax")
BOX: Schema = {
    "type": "object",
    "properties": {side: {"type": "number"} for side in SIDES},
    "required": list(SIDES),
}
OUTPUT: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"label": {"type": "string"}, "score": {"type": "number"}, "box": BOX},
        "required": ["label", "score", "box"],
    },
}
NEEDED: Kinds = {"image": "BYTES"}


class ObjectDetection(TensorTask):
    """Sends `image`, and reads `label`, `score` and `box`."""

    name = "object-detection"
    schema = SCHEMA
    output = OUTPUT
    raw_field = "image"
    needed = NEEDED
    images = ("image",)

    def render(self, parsed: ParsedInput, reply: InferReply) -> Rendered:
        """Return what was found, the surest first."""
        tensors = self.outputs(reply.payload)
        labels = texts_in(tensors, "label")
        scores = column_in(tensors, "score", len(labels)).tolist()
        boxes = numbers_in(tensors, "box", len(labels), len(SIDES)).tolist()
        found = [
            {"label": label, "score": score, "box": dict(zip(SIDES, box, strict=True))}
            for label, score, box in zip(labels, scores, boxes, strict=True)
        ]
        return sorted(found, key=lambda each: -each["score"])
