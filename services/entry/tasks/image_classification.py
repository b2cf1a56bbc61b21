"""Image classification: a picture in, labels out."""

from __future__ import annotations

from libs.common.envelope import InferReply
from services.entry.tasks.base import ParsedInput, Rendered
from services.entry.tasks.media import FILE
from services.entry.tasks.schema import Schema
from services.entry.tasks.tensor_task import Kinds, TensorTask
from services.entry.tasks.told import SCORED, scored

SCHEMA: Schema = {"type": "object", "properties": {"image": FILE}, "required": ["image"]}
NEEDED: Kinds = {"image": "BYTES"}


class ImageClassification(TensorTask):
    """Sends `image`, and reads `label` and `score`."""

    name = "image-classification"
    schema = SCHEMA
    output = SCORED
    raw_field = "image"
    needed = NEEDED
    images = ("image",)

    def render(self, parsed: ParsedInput, reply: InferReply) -> Rendered:
        """Return the labels, the likeliest first."""
        return scored(self.outputs(reply.payload))
