"""Sound, transcripts and pictures in OpenAI's form, made of our results."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.entry.bad_input import bad_input
from services.entry.fronts.bodies import JSON, to_json
from services.entry.tasks.base import Binary, Rendered, Result
from services.entry.tasks.media import content_type_of

PLAIN: Final = "text/plain; charset=utf-8"
MS: Final = 1000
HOUR_S, MINUTE_S = 3600, 60


def file_in(result: Rendered, name: str) -> Binary:
    """Return the file that a result is, or that it has as base64."""
    if isinstance(result, Binary):
        return result
    content = base64.b64decode(result[name])
    return Binary(content, content_type_of(content))


def images(results: Sequence[Rendered], *, created: int, as_url: bool) -> Result:
    """Return pictures, as base64 or as data URIs: nothing is kept that an address could name."""
    files = [file_in(each, "image") for each in results]
    return {"created": created, "data": [_image(each, as_url) for each in files]}


def _image(file: Binary, as_url: bool) -> Result:
    text = base64.b64encode(file.content).decode()
    return {"url": f"data:{file.content_type};base64,{text}"} if as_url else {"b64_json": text}


def transcript(result: Mapping[str, Any], form: str, task: str) -> Binary:
    """Return what was said in the form that was asked for; BadInput where it needs times."""
    if form == "text":
        return Binary(f"{result['text']}\n".encode(), PLAIN)
    if form in ("srt", "vtt"):
        if "segments" not in result:
            raise bad_input(["response_format"], "the model does not tell when words were said")
        text = result["vtt"] if form == "vtt" else srt(result["segments"])
        return Binary(text.encode(), PLAIN)
    info = result.get("transcription_info", {})
    told: Result = {"text": result["text"]}
    if form == "verbose_json":
        told = _verbose(result, info, task)
    if "duration" in info:
        told["usage"] = {"type": "duration", "seconds": math.ceil(info["duration"])}
    return Binary(to_json(told), JSON)


def _verbose(result: Mapping[str, Any], info: Mapping[str, Any], task: str) -> Result:
    words = result.get("words", [])
    ended = words[-1]["end"] if words else 0.0
    return {
        "task": task,
        "language": info.get("language", ""),
        "duration": info.get("duration", ended),
        "text": result["text"],
        "words": words,
        "segments": [_segment(at, each) for at, each in enumerate(result.get("segments", []))],
    }


def _segment(at: int, segment: Mapping[str, Any]) -> Result:
    """Return a segment with all fields that clients expect; those that no model tells are 0."""
    unknown = {"temperature": 0.0, "avg_logprob": 0.0, "compression_ratio": 0.0}
    told = {name: segment[name] for name in ("start", "end", "text")}
    return {"id": at, "seek": 0, "tokens": [], **unknown, "no_speech_prob": 0.0, **told}


def srt(segments: Sequence[Mapping[str, Any]]) -> str:
    """Return subtitles in SubRip's form."""
    return "\n".join(_cue(at, each) for at, each in enumerate(segments, 1))


def _cue(at: int, segment: Mapping[str, Any]) -> str:
    text = " ".join(segment["text"].split())
    return f"{at}\n{_clock(segment['start'])} --> {_clock(segment['end'])}\n{text}\n"


def _clock(seconds: float) -> str:
    whole, ms = divmod(round(max(seconds, 0.0) * MS), MS)
    hours, rest = divmod(whole, HOUR_S)
    minutes, rest = divmod(rest, MINUTE_S)
    return f"{hours:02}:{minutes:02}:{rest:02},{ms:03}"
