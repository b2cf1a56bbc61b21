"""OpenAI's bodies in our words: names and ranges; and embeddings in theirs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from libs.common.errors import BadInput
from services.entry.access import CONTROL_FIELDS
from services.entry.bad_input import bad_input
from services.entry.fronts.openai_params import CHAT, COMPLETIONS, IGNORED, refuse
from services.entry.spelling import Spelling
from services.entry.tasks.base import Result
from services.entry.tasks.image_text_to_text import ImageTextToText
from services.entry.tasks.schema import InputSchema, Schema
from services.entry.tasks.text_generation import TextGeneration

LARGEST_SEED: Final = 9_999_999_999
LEAST_TOP_P: Final = 0.001
DEFAULT_TOKENS: Final = 16  # of completions, as they always had it
NAME: Final = {"type": "string", "minLength": 1}
SAMPLING: Final = {
    "n": {"type": "integer", "minimum": 1, "default": 1},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
    "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
    "seed": {"type": "integer"},
    "stream": {"type": "boolean", "default": False},
    "stream_options": {"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
}
CHAT_SCHEMA: Schema = {
    "type": "object",
    "properties": {"model": NAME, "messages": {"type": "array", "minItems": 1}, **SAMPLING},
    "required": ["model", "messages"],
}
COMPLETIONS_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "model": NAME,
        "prompt": {
            "type": ["string", "array"],
            "minLength": 1,
            "minItems": 1,
            "items": {"type": "string", "minLength": 1},
        },
        "max_tokens": {"type": "integer", "minimum": 1, "default": DEFAULT_TOKENS},
        **SAMPLING,
    },
    "required": ["model", "prompt"],
}
EMBEDDINGS_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "model": NAME,
        "input": {"type": ["string", "array"], "minLength": 1, "items": {"type": "string"}},
        "encoding_format": {"enum": ["float", "base64"], "default": "float"},
        "dimensions": {"type": "integer", "minimum": 1},
    },
    "required": ["model", "input"],
}
NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY
_chat = InputSchema(CHAT_SCHEMA)
_completions = InputSchema(COMPLETIONS_SCHEMA)
_embeddings = InputSchema(EMBEDDINGS_SCHEMA)
_not_a_chats = frozenset({"model", "n", *CHAT, *IGNORED})
_not_a_completions = frozenset({"model", "n", "prompt", *COMPLETIONS, *IGNORED})
_refused_in_chats = frozenset(CHAT)
OF_TEXT: Final = (*TextGeneration.schema["properties"], *IGNORED, *CONTROL_FIELDS)
_spelling_of_chats = Spelling(
    CHAT_SCHEMA["properties"], CHAT, OF_TEXT, ImageTextToText.schema["properties"]
)
_spelling_of_completions = Spelling(COMPLETIONS_SCHEMA["properties"], COMPLETIONS, OF_TEXT)
_spelling_of_embeddings = Spelling(EMBEDDINGS_SCHEMA["properties"], IGNORED, CONTROL_FIELDS)


class Translated:
    """A body in our words, and what it said in theirs."""

    __slots__ = ("model", "ours", "prompts", "theirs")

    def __init__(
        self,
        model: str,
        ours: Mapping[str, Any],
        theirs: Mapping[str, Any],
        prompts: Sequence[str] = (),
    ) -> None:
        self.model = model
        self.ours = ours
        self.theirs = theirs
        self.prompts = prompts  # of a completion, the first of which is in `ours`

    def __repr__(self) -> str:
        return f"<Translated {self.model} {' '.join(self.theirs)}>"

    @property
    def choices(self) -> int:
        """How many answers are wanted."""
        count: int = self.theirs["n"]
        return count * len(self.prompts) if self.prompts else count

    @property
    def includes_usage(self) -> bool:
        """Whether a stream shall end with a chunk that has the usage."""
        return bool(self.theirs.get("stream_options", {}).get("include_usage"))


def chat_body(body: Mapping[str, Any]) -> Translated:
    """Translate a chat completion's body; raises BadInput."""
    _spelling_of_chats.check(body)
    theirs = _chat.read(without_nulls(body))
    if not _refused_in_chats.isdisjoint(theirs):
        refuse(theirs, CHAT)
    ours = _sampled(theirs, _not_a_chats)
    if "response_format" in ours:
        stream_only_text(ours)
    return Translated(theirs["model"], ours, theirs)


def completion_body(body: Mapping[str, Any]) -> Translated:
    """Translate a completion's body; raises BadInput."""
    _spelling_of_completions.check(body)
    theirs = _completions.read(without_nulls(body))
    refuse(theirs, COMPLETIONS)
    prompt = theirs["prompt"]
    prompts = [prompt] if isinstance(prompt, str) else prompt
    ours = _sampled(theirs, _not_a_completions)
    ours["prompt"], ours["raw"] = prompts[0], True
    return Translated(theirs["model"], ours, theirs, prompts)


def embeddings_body(body: Mapping[str, Any]) -> Translated:
    """Translate an embedding's body; raises BadInput."""
    _spelling_of_embeddings.check(body)
    theirs = _embeddings.read(without_nulls(body))
    ours = {"text": theirs["input"]}
    if "options" in body:
        ours["options"] = body["options"]
    return Translated(model=theirs["model"], ours=ours, theirs=theirs)


def stream_only_text(ours: dict[str, Any]) -> None:
    """JSON is checked once it is whole: a stream of it is that, in one piece."""
    form = ours["response_format"]
    if isinstance(form, dict) and form.get("type") != "text":
        ours["stream"] = False


def other_bodies(said: Translated) -> list[Mapping[str, Any]]:
    """Return what asks for each choice but the first; those of one prompt have seeds apart."""
    bodies: list[Mapping[str, Any]] = [said.ours]
    if said.prompts:
        bodies = [{**said.ours, "prompt": prompt} for prompt in said.prompts]
    asked = [_apart(body, at) for body in bodies for at in range(said.theirs["n"])]
    return asked[1:]


def _apart(body: Mapping[str, Any], at: int) -> Mapping[str, Any]:
    return {**body, "seed": seed_of(body["seed"] + at)} if at and "seed" in body else body


def _sampled(theirs: Mapping[str, Any], not_ours: frozenset[str]) -> dict[str, Any]:
    """Return what is ours, too, moved inside of our ranges."""
    ours = {name: value for name, value in theirs.items() if name not in not_ours}
    if "seed" in ours:
        ours["seed"] = seed_of(ours["seed"])
    if "top_p" in ours:
        ours["top_p"] = max(ours["top_p"], LEAST_TOP_P)
    return ours


def in_their_words(error: BadInput, names: Mapping[str, str]) -> BadInput:
    """Return the error with a field's name as the client wrote it."""
    for ours, theirs in names.items():
        if error.pointer == f"/{ours}" or error.pointer.startswith(f"/{ours}/"):
            text = str(error).replace(ours, theirs, 1)
            return BadInput(text, pointer=error.pointer.replace(ours, theirs, 1))
    return error


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


def without_nulls(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """OpenAI's clients may write null for what they leave out."""
    if None not in body.values():
        return body
    return {name: value for name, value in body.items() if value is not None}


def seed_of(seed: int) -> int:
    """Return a seed that our schema takes; equal seeds stay equal."""
    return seed if 1 <= seed <= LARGEST_SEED else abs(seed) % LARGEST_SEED + 1


def _base64(row: Any) -> str:
    return base64.b64encode(np.asarray(row, dtype="<f4").tobytes()).decode()
