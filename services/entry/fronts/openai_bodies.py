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
from services.entry.calls import Plan
from services.entry.tasks.base import Result, Shown
from services.entry.tasks.schema import InputSchema, Schema
from services.entry.tasks.texts import Texts

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


def embeddings(result: Result, *, model: str, translated: Translated, prompt_tokens: int) -> bytes:
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
    rest = orjson.dumps({"model": model, "usage": usage})
    return b'{"object":"list","data":[' + b",".join(data) + b"]," + rest[1:]


def _choice(delta: Result, finish_reason: str | None = None) -> bytes:
    """Return the rest of a chunk, after its head."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return b"," + orjson.dumps({"choices": [choice]})[1:] + b"\n\n"


# All chunks of text are the same but for their heads and the text.
ROLE = _choice({"role": "assistant", "content": ""})
TEXT_BEGINS, _, TEXT_ENDS = _choice({"content": MARK}).partition(MARK.encode())


class ChatFrames:
    """Writes the chunks of one streamed chat completion."""

    def __init__(
        self, *, request_id: str, plan: Plan, translated: Translated, created: int
    ) -> None:
        self._request_id = request_id
        self._created = created
        self._plan = plan  # which model answers is known once it does
        self._head = self._before = self._between = b""
        self._includes_usage = translated.includes_usage
        self._begun = False
        self._finish_reason = "stop"

    def __call__(self, shown: Sequence[Shown]) -> bytes:
        """Return the frames of what is shown: the role first, the reason and the usage last."""
        frames = [] if self._begun else self._begin()
        for each in shown:
            if isinstance(each, Texts):
                frames += (self._before, self._between.join(each.escaped()), TEXT_ENDS)
                continue
            if text := each["response"]:
                frames += (self._before, orjson.dumps(text)[1:-1], TEXT_ENDS)
            frames.append(self._end(each))
        return b"".join(frames)

    def _begin(self) -> list[bytes]:
        """Make what all chunks have, and return the first one."""
        self._begun = True
        head = {
            "id": f"chatcmpl-{self._request_id}",
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._plan.model.name,
        }
        self._head = b"data: " + orjson.dumps(head)[:-1]
        self._before = self._head + TEXT_BEGINS
        self._between = TEXT_ENDS + self._before
        return [self._head, ROLE]

    def _end(self, result: Result) -> bytes:
        """Return what a result says beside text: nothing yet, or all that comes last."""
        self._finish_reason = result.get("finish_reason", self._finish_reason)
        if "usage" not in result:
            return b""
        last = self._head + _choice({}, self._finish_reason)
        if not self._includes_usage:
            return last
        usage = orjson.dumps({"choices": [], "usage": result["usage"]})
        return last + self._head + b"," + usage[1:] + b"\n\n"


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
