"""OpenAI's bodies to and from ours: names, ranges, chunks."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from libs.common.errors import BadInput
from services.entry.bad_input import bad_input
from services.entry.fronts.bodies import sse
from services.entry.tasks.base import Result
from services.entry.tasks.schema import InputSchema, Schema

LARGEST_SEED = 9_999_999_999
LEAST_TOP_P = 0.001
NOT_OURS = ("model", "stream", "stream_options", "n", "user", "logprobs", "store", "metadata")
CHAT: Schema = {
    "type": "object",
    "properties": {
        "model": {"type": "string", "minLength": 1},
        "messages": {"type": "array", "minItems": 1},
        "n": {"type": "integer", "minimum": 1, "maximum": 1},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
        "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
        "seed": {"type": "integer"},
        "logprobs": {"type": "boolean"},
        "stream": {"type": "boolean", "default": False},
        "stream_options": {
            "type": "object",
            "properties": {"include_usage": {"type": "boolean"}},
        },
    },
    "required": ["model", "messages"],
}
EMBEDDINGS: Schema = {
    "type": "object",
    "properties": {
        "model": {"type": "string", "minLength": 1},
        "input": {"type": ["string", "array"], "minLength": 1, "items": {"type": "string"}},
        "encoding_format": {"enum": ["float", "base64"], "default": "float"},
        "dimensions": {"type": "integer", "minimum": 1},
    },
    "required": ["model", "input"],
}
MARK = "text"
NUMPY = orjson.OPT_SERIALIZE_NUMPY
_chat, _embeddings = InputSchema(CHAT), InputSchema(EMBEDDINGS)


class Translated:
    """A body in our words, and what it said in theirs."""

    __slots__ = ("model", "ours", "theirs")

    def __init__(self, model: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
        self.model = model
        self.ours = ours
        self.theirs = theirs

    def __repr__(self) -> str:
        return f"<Translated {self.model} {' '.join(self.theirs)}>"

    @property
    def includes_usage(self) -> bool:
        """Whether a stream shall end with a chunk that has the usage."""
        return bool(self.theirs.get("stream_options", {}).get("include_usage"))


def chat_body(body: Mapping[str, Any]) -> Translated:
    """Translate a chat completion's body; raises BadInput."""
    theirs = _chat.read(_without_nulls(body))
    if theirs.get("logprobs"):
        raise bad_input(["logprobs"], "log probabilities are not available here")
    ours = {name: value for name, value in theirs.items() if name not in NOT_OURS}
    ours["stream"] = theirs["stream"]
    if "seed" in ours:
        ours["seed"] = _seed(ours["seed"])
    if "top_p" in ours:
        ours["top_p"] = max(ours["top_p"], LEAST_TOP_P)
    return Translated(model=theirs["model"], ours=ours, theirs=theirs)


def embeddings_body(body: Mapping[str, Any]) -> Translated:
    """Translate an embedding's body; raises BadInput."""
    theirs = _embeddings.read(_without_nulls(body))
    ours = {"text": theirs["input"]}
    if "options" in body:
        ours["options"] = body["options"]
    return Translated(model=theirs["model"], ours=ours, theirs=theirs)


def in_their_words(error: BadInput, names: Mapping[str, str]) -> BadInput:
    """Return the error with a field's name as the client wrote it."""
    for ours, theirs in names.items():
        if error.pointer == f"/{ours}" or error.pointer.startswith(f"/{ours}/"):
            text = str(error).replace(ours, theirs, 1)
            return BadInput(text, pointer=error.pointer.replace(ours, theirs, 1))
    return error


def completion(result: Result, *, request_id: str, model: str, created: int) -> Result:
    """Return a chat.completion."""
    message = {"role": "assistant", "content": result["response"], "refusal": None}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": result.get("finish_reason", "stop"),
    }
    head = {"id": f"chatcmpl-{request_id}", "object": "chat.completion", "created": created}
    return {**head, "model": model, "choices": [choice], "usage": result["usage"]}


def check_dimensions(translated: Translated, dimensions: int) -> None:
    """Refuse a wish for other dimensions than the model's, where those are known (not 0)."""
    wanted = translated.theirs.get("dimensions", dimensions)
    if dimensions and wanted != dimensions:
        raise bad_input(["dimensions"], f"{wanted} is not what the model has: {dimensions}")


def embeddings(result: Result, *, translated: Translated, prompt_tokens: int) -> bytes:
    """Write a list of embeddings, as numbers or as base64 of little-endian floats."""
    vectors: NDArray[np.float32] = result["data"]
    check_dimensions(translated, vectors.shape[1])
    as_text = translated.theirs["encoding_format"] == "base64"
    data = []
    for at in range(len(vectors)):  # an array that is iterated over raises at its end
        row = vectors[at]
        written = orjson.dumps(_base64(row)) if as_text else orjson.dumps(row, None, NUMPY)
        data.append(b'{"object":"embedding","index":%d,"embedding":%b}' % (at, written))
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    rest = orjson.dumps({"model": translated.model, "usage": usage})
    return b'{"object":"list","data":[' + b",".join(data) + b"]," + rest[1:]


class ChatFrames:
    """Writes the chunks of one streamed chat completion."""

    def __init__(self, *, request_id: str, translated: Translated, created: int) -> None:
        self._head = {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": translated.model,
        }
        self._includes_usage = translated.includes_usage
        self._begun = False
        self._finish_reason = "stop"
        # All chunks of text are the same but for the text; the last mark is ours, for sure.
        before, _, after = self._chunk({"content": MARK}).rpartition(orjson.dumps(MARK))
        self._around_text = before, after

    def __call__(self, results: Sequence[Result]) -> bytes:
        """Return the frames of some results: the role first, the reason and the usage last."""
        frames = [] if self._begun else [self._chunk({"role": "assistant", "content": ""})]
        self._begun = True
        before, after = self._around_text
        for result in results:
            if text := result["response"]:
                frames.append(before + orjson.dumps(text) + after)
            if len(result) > 1:
                frames.append(self._end(result))
        return b"".join(frames)

    def _end(self, result: Result) -> bytes:
        """Return what a result says beside text: nothing yet, or all that comes last."""
        self._finish_reason = result.get("finish_reason", self._finish_reason)
        if "usage" not in result:
            return b""
        last = self._chunk({}, self._finish_reason)
        if not self._includes_usage:
            return last
        return last + sse({**self._head, "choices": [], "usage": result["usage"]})

    def _chunk(self, delta: Result, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return sse({**self._head, "choices": [choice]})


def _without_nulls(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """OpenAI's clients may write null for what they leave out."""
    if None not in body.values():
        return body
    return {name: value for name, value in body.items() if value is not None}


def _seed(seed: int) -> int:
    """Return a seed that our schema takes; equal seeds stay equal."""
    return seed if 1 <= seed <= LARGEST_SEED else abs(seed) % LARGEST_SEED + 1


def _base64(row: Any) -> str:
    return base64.b64encode(np.asarray(row, dtype="<f4").tobytes()).decode()
