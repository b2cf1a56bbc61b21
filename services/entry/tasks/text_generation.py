"""Text generation: a prompt or messages in, text out, whole or token by token."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any, Final

from libs.common.catalog import Model
from libs.common.envelope import InferReply, Outcome, Units, Usage
from services.entry.bad_input import bad_input
from services.entry.spelling import misspelt
from services.entry.tasks.asked import FIELDS, Asked, asked_of, guide_of
from services.entry.tasks.base import (
    USAGE,
    ParsedInput,
    Renderer,
    Result,
    Shown,
    StreamingTask,
    Templates,
    no_tensor,
    usage_of,
)
from services.entry.tasks.chat import PLAIN, ROLES, ChatTemplate
from services.entry.tasks.dialects.registry import text_dialect
from services.entry.tasks.schema import Schema
from services.entry.tasks.so_far import SoFar, Told
from services.entry.tasks.texts import one_by_one, together
from services.entry.tasks.tool_stream import ToolStream
from services.entry.tasks.tools import TOOL, TOOL_CHOICE

MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"enum": list(ROLES)},
        "content": {"type": ["string", "array", "null"], "items": {"type": "object"}},
        "name": {"type": ["string", "null"]},
        "tool_calls": {"type": ["array", "null"], "items": {"type": "object"}},
        "tool_call_id": {"type": ["string", "null"]},
    },
    "required": ["role"],
    "anyOf": [{"required": ["content"]}, {"required": ["tool_calls"]}],
}
UTF_8: Final = codecs.getincrementaldecoder("utf-8")  # to look it up costs as much as to use it
OF_TOOLS: Final = ("tools", "tool_choice", "parallel_tool_calls")
TEXTS = {"type": "array", "maxItems": 4, "items": {"type": "string", "minLength": 1}}
SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string", "minLength": 1},
        "messages": {"type": "array", "minItems": 1, "items": MESSAGE},
        "raw": {"type": "boolean", "default": False},
        "max_tokens": {"type": "integer", "minimum": 1, "default": 256},
        "max_completion_tokens": {"type": "integer", "minimum": 1},
        "temperature": {"type": "number", "minimum": 0, "maximum": 5, "default": 0.6},
        "top_p": {"type": "number", "minimum": 0.001, "maximum": 1},
        "top_k": {"type": "integer", "minimum": 1, "maximum": 50},
        "seed": {"type": "integer", "minimum": 1, "maximum": 9_999_999_999},
        "repetition_penalty": {"type": "number", "minimum": 0, "maximum": 2},
        "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
        "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
        "stop": {"anyOf": [{"type": "string", "minLength": 1}, TEXTS]},
        "response_format": {
            "type": "object",
            "properties": {
                "type": {"enum": ["text", "json_object", "json_schema"]},
                "json_schema": {"type": "object"},
            },
            "required": ["type"],
        },
        "tools": {"type": "array", "maxItems": 128, "items": TOOL},
        "tool_choice": TOOL_CHOICE,
        "parallel_tool_calls": {"type": "boolean"},
        "functions": {"type": "array", "items": {"type": "object"}},
    },
    "oneOf": [{"required": ["prompt"]}, {"required": ["messages"]}],
}

TOOL_CALL = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "type": {"type": "string"},
        "name": {"type": "string"},
        "arguments": {"type": ["object", "string"]},
        "function": {"type": "object"},
    },
}
OUTPUT: Schema = {
    "type": "object",
    "properties": {
        "response": {"type": ["string", "object", "array"]},
        "finish_reason": {"type": "string"},
        "tool_calls": {"type": "array", "items": TOOL_CALL},
        "usage": USAGE,
    },
    "required": ["response"],
}


class TextGeneration(StreamingTask):
    """Renders the chat template and speaks the dialect of the model's backend."""

    name = "text-generation"
    schema = SCHEMA
    output = OUTPUT

    def __init__(self, model: Model, templates: Templates) -> None:
        """Compile the schema and the model's chat template."""
        super().__init__(model, templates)
        path = model.backend.chat_template
        self._chat = ChatTemplate(templates(path) if path else PLAIN)
        self.dialect = text_dialect(model)
        self.payload_kind = self.dialect.payload_kind
        self._longest = self.input.document["properties"]["max_tokens"].get("maximum")

    def parse(self, body: Mapping[str, Any]) -> ParsedInput:
        """Check the fields, and render the template."""
        if ("prompt" in body) == ("messages" in body):
            text = "expected exactly one of prompt and messages"
            raise misspelt(body, ("prompt", "messages")) or bad_input(["prompt"], text)
        values = self.input.read(body)
        if not FIELDS.isdisjoint(body):
            self._ask(values)
        text = self._prompt(values)
        values["max_tokens"] = self._max_tokens(values)
        return ParsedInput(values={**values, "text": text}, units=Units(input_characters=len(text)))

    def prompt(self, parsed: ParsedInput) -> str:
        """Return the rendered text."""
        return str(parsed.values["text"])

    def payload(self, parsed: ParsedInput, *, stream: bool, adapter: str) -> bytes:
        """Write what the dialect has for it; BadInput for JSON in a stream: none could check it."""
        if stream and "asked" in parsed.values and parsed.values["asked"].json_mode is not None:
            raise bad_input(["stream"], "JSON Mode does not stream: expected false")
        return self.dialect.payload(parsed.values, stream=stream, adapter=adapter)

    def render(self, parsed: ParsedInput, reply: InferReply) -> Result:
        """Return the text, why it ended, and the usage."""
        raw, told = self.dialect.answer(reply.payload)
        text = raw.decode("utf-8", "replace")
        result: Result = {"response": text}
        if "asked" in parsed.values:
            result = parsed.values["asked"].answer(text, told)
        elif told.reason:
            result["finish_reason"] = told.reason
        result["usage"] = usage = usage_of(reply.outcome.usage)
        if told.cached is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": told.cached}
        return result

    def renderer(self, parsed: ParsedInput, keep_bytes: int = 0) -> Renderer:
        """Return what renders one stream of text."""
        stream = TextStream(self, keep_bytes)
        asked: Asked | None = parsed.values.get("asked")
        if asked is None or asked.tools is None:
            return stream
        return ToolStream(stream, asked, asked.tools)

    def _ask(self, values: dict[str, Any]) -> None:
        """Replace what is asked for beside text by what it means here; raises BadInput."""
        asked = asked_of(values, self.dialect, self.model)
        tools = None if asked is None else asked.tools
        if tools is None:  # there are none, or they are not to be used
            for name in OF_TOOLS:
                values.pop(name, None)
        else:
            values["tools"] = tools.functions
        if asked is not None:
            values["asked"] = asked
            guide = guide_of(asked, self.dialect, values)
            if guide is not None:
                values["guide"] = guide

    def _prompt(self, values: Mapping[str, Any]) -> str:
        if values["raw"] and "prompt" in values:
            return str(values["prompt"])
        messages = values.get("messages") or [{"role": "user", "content": values["prompt"]}]
        return self._chat.prompt(messages, tools=values.get("tools"))

    def _max_tokens(self, values: Mapping[str, Any]) -> int:
        """Take the newer name's value where it is given; the model's maximum holds for both."""
        wanted = int(values.get("max_completion_tokens", values["max_tokens"]))
        if self._longest is not None and wanted > self._longest:
            problem = f"{wanted} is greater than the maximum of {self._longest}"
            raise bad_input(["max_completion_tokens"], problem)
        return wanted


class TextStream:
    """The parts of one text: a character cut in two waits for its other half."""

    def __init__(self, task: TextGeneration, keep_bytes: int) -> None:
        self._dialect = task.dialect
        self._reader = task.dialect.reader()
        self._decoder = UTF_8("replace")
        self._is_cut = False
        self._so_far = SoFar(keep_bytes)
        self._ran_out = False

    @property
    def parts_seen(self) -> int:
        """How many parts there were."""
        return self._so_far.parts

    def parts(self, payloads: Sequence[bytes]) -> list[Shown]:
        """Return the text that each part adds, and why it ended where one says so."""
        try:
            read = self._reader.read(payloads)
        except KeyError as error:
            raise no_tensor(str(error.args[0]), payloads) from None
        self._so_far.see(read)
        shown: list[Shown] = []
        for raws, told in read:
            if told.reason or told.calls:
                shown += [self._more(raw, told) for raw in raws]
                continue
            texts = None if self._is_cut else together(raws)
            if texts is not None:
                shown.append(texts)
            else:  # some are empty, end in mid character, or are no UTF-8
                shown += one_by_one([self._text(raw) for raw in raws])
        return shown

    def end(self, outcome: Outcome) -> Result:
        """Return the rest of the text, mostly none, and the usage."""
        so_far = self._so_far
        rest = self._decoder.decode(b"", final=True)
        usage = usage_of(so_far.added_up(outcome.usage))
        if so_far.cached is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": so_far.cached}
        result: Result = {"response": rest, "usage": usage}
        if self._ran_out:
            result["finish_reason"] = "length"
        return result

    def used_if_whole(self, parsed: ParsedInput) -> Usage | None:
        """Return what its last attempt used if a stream broke after its last token, else None."""
        so_far = self._so_far
        if not so_far.reason:  # the last token may have come, and the word for it not
            self._ran_out = so_far.tokens >= parsed.values["max_tokens"]
        return so_far.used() if so_far.reason or self._ran_out else None

    def rest(self, parsed: ParsedInput) -> ParsedInput | None:
        """Return the input that goes on from the text so far; None if that was too long to keep."""
        so_far = self._so_far
        if not so_far.is_kept:
            return None
        self._decoder.reset()
        self._is_cut = False
        text = so_far.cut()
        values = self._dialect.rest(parsed.values, text, so_far.tokens)
        return None if values is None else ParsedInput(values, parsed.units)

    def _more(self, raw: bytes, told: Told) -> Result:
        """Return a text, and what is told beside it."""
        result: Result = {"response": self._text(raw)}
        if told.calls:
            result["tool_calls"] = told.calls
        if told.reason:
            result["finish_reason"] = told.reason
        return result

    def _text(self, raw: bytes) -> str:
        """Return the text with what was left of the part before; the decoder keeps what is left."""
        text = self._decoder.decode(raw)
        self._is_cut = self._decoder.getstate()[0] != b""
        return text
