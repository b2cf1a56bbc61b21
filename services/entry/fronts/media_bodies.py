"""OpenAI's bodies about sound and pictures in our words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from services.entry.access import CONTROL_FIELDS
from services.entry.bad_input import bad_input
from services.entry.fronts.openai_bodies import NAME, Translated, without_nulls
from services.entry.fronts.openai_params import (
    IGNORED,
    IMAGES,
    OF_MEDIA,
    SPEECH,
    TRANSCRIPTIONS,
    refuse,
)
from services.entry.spelling import Spelling
from services.entry.tasks.schema import InputSchema, Schema

SPEECH_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "model": NAME,
        "input": {"type": "string", "minLength": 1},
        "voice": {
            "type": ["string", "object"],
            "minLength": 1,
            "properties": {"id": NAME},
            "required": ["id"],
        },
        "response_format": {"enum": ["mp3", "opus", "aac", "flac", "wav", "pcm"]},
    },
    "required": ["model", "input"],
}
TRANSCRIPTION_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "model": NAME,
        "file": {"type": "string", "format": "binary"},
        "language": {"type": "string"},
        "prompt": {"type": "string"},
        "response_format": {
            "enum": ["json", "text", "srt", "verbose_json", "vtt"],
            "default": "json",
        },
        "temperature": {"type": "number"},
        "stream": {"type": "boolean"},
    },
    "required": ["model", "file"],
}
IMAGE_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "model": NAME,
        "prompt": {"type": "string", "minLength": 1},
        "n": {"type": "integer", "minimum": 1, "default": 1},
        "size": {"type": "string"},
        "response_format": {"enum": ["b64_json", "url"], "default": "b64_json"},
    },
    "required": ["model", "prompt"],
}
ENCODINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "mp3": {"encoding": "mp3"},
    "opus": {"encoding": "opus", "container": "ogg"},
    "aac": {"encoding": "aac"},
    "flac": {"encoding": "flac"},
    "wav": {"encoding": "linear16", "container": "wav"},
    "pcm": {"encoding": "linear16", "container": "none"},
}
# Fields of ours by the names that OpenAI has for them.
OF_SPEECH: Final[Mapping[str, str]] = {"text": "input", "speaker": "voice"}
OF_TRANSCRIPTIONS: Final[Mapping[str, str]] = {"audio": "file", "initial_prompt": "prompt"}
OF_IMAGES: Final[Mapping[str, str]] = {"width": "size", "height": "size"}
SIZE: Final = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})")
_speech, _image = InputSchema(SPEECH_SCHEMA), InputSchema(IMAGE_SCHEMA)
_transcription = InputSchema(TRANSCRIPTION_SCHEMA)
_passed_on = ("options", "seed")
_of_all = (*_passed_on, *OF_MEDIA, *IGNORED, *CONTROL_FIELDS)
_spelling_of_speech = Spelling(SPEECH_SCHEMA["properties"], SPEECH, _of_all)
_spelling_of_transcriptions = Spelling(TRANSCRIPTION_SCHEMA["properties"], TRANSCRIPTIONS, _of_all)
_spelling_of_images = Spelling(IMAGE_SCHEMA["properties"], IMAGES, _of_all)


def speech_body(body: Mapping[str, Any]) -> Translated:
    """Translate what shall be said; raises BadInput."""
    _spelling_of_speech.check(body)
    theirs = _speech.read(without_nulls(body))
    refuse(theirs, SPEECH)
    ours = {"text": theirs["input"], **_same(theirs)}
    if "voice" in theirs:
        voice = theirs["voice"]
        ours["speaker"] = voice if isinstance(voice, str) else voice["id"]
    ours.update(ENCODINGS.get(theirs.get("response_format", ""), {}))
    return Translated(theirs["model"], ours, theirs)


def transcription_body(body: Mapping[str, Any]) -> Translated:
    """Translate the form that has what was said; raises BadInput."""
    listed = {name.removesuffix("[]"): value for name, value in body.items()}
    _spelling_of_transcriptions.check(listed)
    file = listed.pop("file", None)
    shown = listed if file is None else {**listed, "file": ""}  # its bytes are the task's to check
    theirs = _transcription.read(without_nulls(shown))
    refuse(theirs, TRANSCRIPTIONS)
    ours = {"audio": file, **_same(theirs)}
    if theirs.get("language"):
        ours["language"] = theirs["language"]
    if theirs.get("prompt"):
        ours["initial_prompt"] = theirs["prompt"]
    return Translated(theirs["model"], ours, theirs)


def translation_body(body: Mapping[str, Any]) -> Translated:
    """Translate the form that has what shall be told in English; raises BadInput."""
    said = transcription_body(body)
    return Translated(said.model, {**said.ours, "task": "translate"}, said.theirs)


def image_body(body: Mapping[str, Any]) -> Translated:
    """Translate what shall be drawn; raises BadInput."""
    _spelling_of_images.check(body)
    theirs = _image.read(without_nulls(body))
    refuse(theirs, IMAGES)
    ours = {"prompt": theirs["prompt"], **_same(theirs)}
    size = theirs.get("size", "auto")
    if size != "auto":
        found = SIZE.fullmatch(size)
        if found is None:
            raise bad_input(["size"], "expected a width and a height, such as 512x512, or auto")
        ours["width"], ours["height"] = int(found[1]), int(found[2])
    return Translated(theirs["model"], ours, theirs)


def _same(theirs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: theirs[name] for name in _passed_on if name in theirs}
