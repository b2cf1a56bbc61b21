"""Automatic speech recognition: sound in, what was said out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libs.common.envelope import NO_UNITS, InferReply, Units
from libs.common.wire import Tensor
from services.entry.tasks.base import ParsedInput, Rendered, Result
from services.entry.tasks.durations import seconds_of
from services.entry.tasks.media import TYPED_FILE
from services.entry.tasks.schema import Schema
from services.entry.tasks.tensor_task import Kinds, TensorTask
from services.entry.tasks.told import column_in, numbers_in, text_in, texts_in
from services.entry.tasks.transcripts import Word, segment, segments, vtt

LANGUAGE: Schema = {"type": "string", "minLength": 2, "maxLength": 35}
TEXT: Schema = {"type": "string", "maxLength": 10_000}
SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "audio": TYPED_FILE,
        "source_lang": LANGUAGE,
        "target_lang": LANGUAGE,
        "task": {"enum": ["transcribe", "translate"], "default": "transcribe"},
        "language": LANGUAGE,
        "initial_prompt": TEXT,
        "prefix": TEXT,
        "vad_filter": {"type": "boolean", "default": False},
        "condition_on_previous_text": {"type": "boolean", "default": True},
        "beam_size": {"type": "integer", "minimum": 1, "maximum": 100, "default": 5},
        "no_speech_threshold": {"type": "number", "minimum": 0, "maximum": 1},
        "compression_ratio_threshold": {"type": "number", "minimum": 0, "maximum": 1000},
        "log_prob_threshold": {"type": "number", "minimum": -1000, "maximum": 0},
        "hallucination_silence_threshold": {"type": "number", "minimum": 0, "maximum": 1000},
    },
    "required": ["audio"],
}
NUMBER: Schema = {"type": "number"}
WORD: Schema = {
    "type": "object",
    "properties": {"word": {"type": "string"}, "start": NUMBER, "end": NUMBER},
}
WORDS: Schema = {"type": "array", "items": WORD}
SEGMENT: Schema = {
    "type": "object",
    "properties": {"start": NUMBER, "end": NUMBER, "text": {"type": "string"}, "words": WORDS},
}
OUTPUT: Schema = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "word_count": {"type": "integer"},
        "words": WORDS,
        "vtt": {"type": "string"},
        "segments": {"type": "array", "items": SEGMENT},
        "transcription_info": {
            "type": "object",
            "properties": {
                "language": {"type": "string"},
                "language_probability": NUMBER,
                "duration": NUMBER,
            },
        },
    },
    "required": ["text", "word_count"],
}
NEEDED: Kinds = {"audio": "BYTES"}
OPTIONAL: Kinds = {
    "source_lang": "BYTES",
    "target_lang": "BYTES",
    "task": "BYTES",
    "language": "BYTES",
    "initial_prompt": "BYTES",
    "prefix": "BYTES",
    "vad_filter": "BOOL",
    "condition_on_previous_text": "BOOL",
    "beam_size": "INT32",
    "no_speech_threshold": "FP32",
    "compression_ratio_threshold": "FP32",
    "log_prob_threshold": "FP32",
    "hallucination_silence_threshold": "FP32",
}


class AutomaticSpeechRecognition(TensorTask):
    """Sends `audio` and what else was said; reads `text`, and the words' times if there are any."""

    name = "automatic-speech-recognition"
    schema = SCHEMA
    output = OUTPUT
    raw_field = "audio"
    needed = NEEDED
    optional = OPTIONAL
    sounds = ("audio",)

    def units(self, values: Mapping[str, Any], files: Mapping[str, bytes]) -> Units:
        """Price the seconds."""
        if not self.model.price.per_audio_second:
            return NO_UNITS
        return Units(audio_seconds=seconds_of(files["audio"]))

    def render(self, parsed: ParsedInput, reply: InferReply) -> Rendered:
        """Return the text, and what the model told of it."""
        tensors = self.outputs(reply.payload)
        text = text_in(tensors, "text")
        result: Result = {"text": text, "word_count": len(text.split())}
        if "words" in tensors and "word_times" in tensors:
            words = _words(tensors)
            found = segments(words)
            result["words"] = [each.result() for each in words]
            result["vtt"] = vtt(found)
            result["segments"] = [segment(each) for each in found]
        if info := _info(tensors):
            result["transcription_info"] = info
        return result


def _words(tensors: Mapping[str, Tensor]) -> list[Word]:
    texts = texts_in(tensors, "words")
    times = numbers_in(tensors, "word_times", len(texts), 2).tolist()
    return [
        Word(text, round(start, 3), round(end, 3))
        for text, (start, end) in zip(texts, times, strict=True)
    ]


def _info(tensors: Mapping[str, Tensor]) -> Result:
    info: Result = {}
    if "language" in tensors:
        info["language"] = text_in(tensors, "language")
    for name in ("language_probability", "duration"):
        if name in tensors:
            info[name] = float(column_in(tensors, name, 1)[0])
    return info
