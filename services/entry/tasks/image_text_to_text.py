"""Image and text to text: a picture and a question about it in, the answer out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from libs.common.catalog import Model
from libs.common.envelope import InferReply, Units
from services.entry.bad_input import bad_input
from services.entry.tasks.base import USAGE, ParsedInput, Rendered, Templates, usage_of
from services.entry.tasks.chat import PLAIN, ROLES, ChatTemplate
from services.entry.tasks.image_to_text import PROMPT, SAMPLING, ImageToText
from services.entry.tasks.media import FILE, file_bytes
from services.entry.tasks.schema import Schema
from services.entry.tasks.tensor_task import NO_FIELDS, Kinds, exactly_one
from services.entry.tasks.told import text_in

MESSAGE: Schema = {
    "type": "object",
    "properties": {
        "role": {"enum": list(ROLES)},
        "content": {"type": ["string", "array", "null"], "items": {"type": "object"}},
    },
    "required": ["role", "content"],
}
SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "image": FILE,
        "prompt": PROMPT,
        "messages": {"type": "array", "minItems": 1, "items": MESSAGE},
        **SAMPLING,
    },
    "oneOf": [{"required": ["prompt"]}, {"required": ["messages"]}],
}
OUTPUT: Schema = {
    "type": "object",
    "properties": {
        "description": {"type": "string"},
        "response": {"type": "string"},
        "usage": USAGE,
    },
    "required": ["description", "response"],
}

Picture: TypeAlias = tuple[list[str | int], Any]  # where it is, and what was said there
NEEDED: Kinds = {"image": "BYTES", "prompt": "BYTES"}


class ImageTextToText(ImageToText):
    """The same with a prompt that is needed, or messages that may have the picture in them."""

    name = "image-text-to-text"
    schema = SCHEMA
    output = OUTPUT
    needed = NEEDED
    optional = NO_FIELDS

    def __init__(self, model: Model, templates: Templates) -> None:
        """Compile the model's chat template."""
        super().__init__(model, templates)
        path = model.backend.chat_template
        self._chat = ChatTemplate(templates(path) if path else PLAIN)

    def parse(self, body: Mapping[str, Any]) -> ParsedInput:
        """Find the one picture, and render what the messages say beside it."""
        exactly_one(body, "prompt", "messages")
        pictures: list[Picture] = [(["image"], body["image"])] if "image" in body else []
        pictures += _pictures(body.get("messages"))
        if len(pictures) != 1:
            where = pictures[1][0] if pictures else ["image"]
            problem = f"expected one picture, in image or in a message, got {len(pictures)}"
            raise bad_input(where, problem)
        where, picture = pictures[0]
        said = {**body, "image": file_bytes(picture, where, self.limits.image_bytes)}
        if "messages" in body:
            said["messages"] = _without_pictures(body["messages"])
        parsed = super().parse(said)
        values = dict(parsed.values)
        if "messages" in values:
            values["prompt"] = self._chat.prompt(values.pop("messages"))
        return ParsedInput(values=values, units=Units(input_characters=len(values["prompt"])))

    def render(self, parsed: ParsedInput, reply: InferReply) -> Rendered:
        """Return the answer by both of the names that clients know, and the usage."""
        text = text_in(self.outputs(reply.payload), "text")
        return {"description": text, "response": text, "usage": usage_of(reply.outcome.usage)}


def _pictures(messages: Any) -> Iterator[Picture]:
    """Yield the pictures in messages, which nobody has checked yet."""
    for at, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for index, part in enumerate(content if isinstance(content, list) else ()):
            if _is_picture(part):
                told = part["image_url"]
                where: list[str | int] = ["messages", at, "content", index, "image_url"]
                if isinstance(told, dict):
                    yield [*where, "url"], told.get("url")
                else:
                    yield where, told


def _is_picture(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "image_url" and "image_url" in part


def _without_pictures(messages: Any) -> Any:
    if not isinstance(messages, list):
        return messages
    return [_text_alone(each) for each in messages]


def _text_alone(message: Any) -> Any:
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [each for each in message["content"] if not _is_picture(each)]}
