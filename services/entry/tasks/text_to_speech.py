"""Text to speech: a text in, sound out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pybase64

from libs.common.envelope import InferReply, Units
from services.entry.tasks.base import Binary, ParsedInput, Rendered
from services.entry.tasks.media import OCTETS, content_type_of
from services.entry.tasks.schema import Schema
from services.entry.tasks.tensor_task import Kinds, TensorTask, exactly_one
from services.entry.tasks.told import bytes_in, text_said

TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 10_000}
SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "prompt": TEXT,
        "text": TEXT,
        "lang": {"type": "string", "minLength": 2, "maxLength": 35, "default": "en"},
        "speaker": {"type": "string", "minLength": 1, "maxLength": 64},
        "encoding": {"enum": ["linear16", "flac", "mulaw", "alaw", "mp3", "opus", "aac"]},
        "container": {"enum": ["none", "wav", "ogg"]},
        "sample_rate": {"type": "integer", "minimum": 8000, "maximum": 192_000},
        "bit_rate": {"type": "integer", "minimum": 4000, "maximum": 650_000},
    },
    "oneOf": [{"required": ["prompt"]}, {"required": ["text"]}],
}
SOUND: Final[Schema] = {
    "type": "string",
    "format": "binary",
    "contentMediaType": "audio/mpeg",
    "description": "MP3, WAV, OGG, FLAC or AAC, as the model speaks",
}
# Sound without a header is what was asked for; nothing in it tells.
BARE: Final = {"linear16": "audio/l16", "mulaw": "audio/basic", "alaw": "audio/x-alaw-basic"}
OUTPUT: Schema = {"anyOf": [SOUND, text_said("audio")]}
NEEDED: Kinds = {"text": "BYTES"}
OPTIONAL: Kinds = {
    "lang": "BYTES",
    "speaker": "BYTES",
    "encoding": "BYTES",
    "container": "BYTES",
    "sample_rate": "INT32",
    "bit_rate": "INT32",
}


class TextToSpeech(TensorTask):
    """Sends `text` and what else was said, and reads `audio`."""

    name = "text-to-speech"
    schema = SCHEMA
    output = OUTPUT
    may_be_binary = True
    needed = NEEDED
    optional = OPTIONAL

    def output_schema(self) -> Schema:
        """Return the schema of the sound, or of the base64 around it."""
        return text_said("audio") if self.model.base64_answers else SOUND

    def parse(self, body: Mapping[str, Any]) -> ParsedInput:
        """Take the text by either of its names."""
        exactly_one(body, "text", "prompt")
        parsed = super().parse(body)
        values = dict(parsed.values)
        if "prompt" in values:
            values["text"] = values.pop("prompt")
        return ParsedInput(values=values, units=parsed.units)

    def units(self, values: Mapping[str, Any], files: Mapping[str, bytes]) -> Units:
        """Price the characters."""
        return Units(input_characters=len(values.get("text", values.get("prompt", ""))))

    def render(self, parsed: ParsedInput, reply: InferReply) -> Rendered:
        """Return the sound, or base64 of it."""
        audio = bytes_in(self.outputs(reply.payload), "audio")
        if self.model.base64_answers:
            return {"audio": pybase64.b64encode(audio).decode()}
        kind = content_type_of(audio)
        if kind == OCTETS:
            kind = BARE.get(parsed.values.get("encoding", ""), OCTETS)
        return Binary(audio, kind)
