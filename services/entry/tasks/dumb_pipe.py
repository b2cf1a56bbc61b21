"""Dumb pipe: a body in and a body out, and nobody looks into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from libs.common.envelope import InferReply
from libs.common.errors import ModelFailed
from services.entry.bad_input import bad_input
from services.entry.tasks.base import Binary, ParsedInput, Rendered
from services.entry.tasks.schema import Schema
from services.entry.tasks.sent import Sent
from services.entry.tasks.tensor_task import Kinds, TensorTask
from services.entry.tasks.told import bytes_in, text_in

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
SCHEMA: Schema = {"properties": {}, "description": "any body, of any content type"}
OUTPUT: Schema = {
    "description": "what the model answers: JSON in an envelope, or bytes as they are"
}
NEEDED: Kinds = {"body": "BYTES", "content_type": "BYTES"}


class DumbPipe(TensorTask):
    """Sends `body` and `content_type`, and reads the same."""

    name = "dumb-pipe"
    schema = SCHEMA
    output = OUTPUT
    may_be_binary = True
    needed = NEEDED

    def read(self, sent: Sent) -> Mapping[str, Any]:
        """Take the body as it is, options and all."""
        if not sent.content_type.isprintable():
            raise bad_input(["content_type"], "a Content-Type that is no text")
        return {"body": sent.content, "content_type": sent.content_type or JSON}

    def parse(self, body: Mapping[str, Any]) -> ParsedInput:
        """Take what was read; there is nothing to check."""
        if not isinstance(body.get("body"), bytes):
            raise bad_input([], "this model takes what is posted to its own route alone")
        return ParsedInput(values=body)

    def render(self, parsed: ParsedInput, reply: InferReply) -> Rendered:
        """Return the bytes as they are; what JSON says goes into an envelope."""
        tensors = self.outputs(reply.payload)
        content = bytes_in(tensors, "body")
        kind = text_in(tensors, "content_type") if "content_type" in tensors else ""
        kind = kind or OCTETS
        if not (kind.isascii() and kind.isprintable()):
            raise ModelFailed(f"the model's content_type is {kind[:80]!r}", sent=True)
        if kind.partition(";")[0].strip().lower() == JSON:
            try:
                return orjson.loads(content)
            except orjson.JSONDecodeError:
                pass  # which is the client's to make sense of
        return Binary(content, kind)
