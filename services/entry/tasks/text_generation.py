"""Text generation: a prompt or messages in, text out, whole or token by token."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from libs.common import wire
from libs.common.answers import PartReader
from libs.common.catalog import Model
from libs.common.envelope import InferReply, Outcome, Units
from libs.common.wire import Tensor
from services.entry.bad_input import bad_input
from services.entry.tasks.base import (
    ParsedInput,
    Result,
    Task,
    Templates,
    needed,
    no_tensor,
    usage_of,
)
from services.entry.tasks.chat import PLAIN, ROLES, ChatTemplate
from services.entry.tasks.schema import Schema

MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"enum": list(ROLES)},
        "content": {"type": ["string", "array", "null"], "items": {"type": "object"}},
        "name": {"type": ["string", "null"]},
        "tool_calls": {"type": ["array", "null"]},
        "tool_call_id": {"type": ["string", "null"]},
    },
    "required": ["role", "content"],
}
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
            "properties": {"type": {"enum": ["text", "json_object", "json_schema"]}},
            "required": ["type"],
        },
        "tools": {"type": "array", "items": {"type": "object"}},
        "functions": {"type": "array", "items": {"type": "object"}},
    },
    "oneOf": [{"required": ["prompt"]}, {"required": ["messages"]}],
}
SAMPLING = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
)
LORA_INSIDE = ("vllm",)  # elsewhere the server appends the adapter as a tensor


class TextGeneration(Task):
    """Renders the chat template and speaks vLLM's tensors."""

    name = "text-generation"
    streams = True
    schema = SCHEMA

    def __init__(self, model: Model, templates: Templates) -> None:
        """Compile the schema and the model's chat template."""
        super().__init__(model, templates)
        path = model.backend.chat_template
        self._chat = ChatTemplate(templates(path) if path else PLAIN)
        reason = self.tensor("finish_reason")
        self.part_reader = PartReader(  # of all its streams: they look alike
            self.tensor("text_output"), lambda tensors: _reason(tensors.get(reason))
        )
        self._longest = self.input.document["properties"]["max_tokens"].get("maximum")

    def parse(self, body: Mapping[str, Any]) -> ParsedInput:
        """Check the fields, and render the template."""
        if ("prompt" in body) == ("messages" in body):
            raise bad_input(["prompt"], "expected exactly one of prompt and messages")
        values = self.input.read(body)
        if values.get("response_format", {}).get("type", "text") != "text":
            raise bad_input(["response_format", "type"], "this model answers in text alone")
        text = self._prompt(values)
        values["max_tokens"] = self._max_tokens(values)
        return ParsedInput(values={**values, "text": text}, units=Units(input_characters=len(text)))

    def prompt(self, parsed: ParsedInput) -> str:
        """Return the rendered text."""
        return str(parsed.values["text"])

    def payload(self, parsed: ParsedInput, *, stream: bool, adapter: str) -> bytes:
        """Write vLLM's input tensors."""
        values = parsed.values
        sampling = {name: values[name] for name in SAMPLING if name in values}
        if "stop" in values:
            stop = values["stop"]
            sampling["stop"] = [stop] if isinstance(stop, str) else stop
        if adapter and self.model.backend.dialect in LORA_INSIDE:
            sampling["lora_name"] = adapter
        tensors = (
            wire.text(self.tensor("text_input"), values["text"]),
            wire.flag(self.tensor("stream"), stream),
            wire.text(self.tensor("sampling_parameters"), orjson.dumps(sampling)),
            wire.flag(self.tensor("exclude_input_in_output"), True),
            wire.flag(self.tensor("return_finish_reason"), True),
            wire.flag(self.tensor("return_num_input_tokens"), True),
            wire.flag(self.tensor("return_num_output_tokens"), True),
        )
        return wire.tensors_to_payload(tensors)

    def render(self, parsed: ParsedInput, reply: InferReply) -> Result:
        """Return the text, why it ended, and the usage."""
        outputs = self.outputs(reply.payload)
        text = b"".join(needed(outputs, "text_output").texts()).decode("utf-8", "replace")
        usage = {"usage": usage_of(reply.outcome.usage)}
        return {"response": text} | _finish_reason(outputs) | usage

    def renderer(self) -> TextStream:
        """Return what renders one stream of text."""
        return TextStream(self)

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

    def __init__(self, task: TextGeneration) -> None:
        self._reader = task.part_reader
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._is_cut = False

    def parts(self, payloads: Sequence[bytes]) -> list[Result]:
        """Return the text that each part adds, and why it ended where one says so."""
        try:
            read = self._reader.read_all(payloads)
        except KeyError as error:
            raise no_tensor(str(error.args[0]), payloads) from None
        results: list[Result] = []
        for raw, reason in read:
            try:
                text = self._joined(raw) if self._is_cut else raw.decode()
            except UnicodeDecodeError:  # it ends in mid character, or is no UTF-8
                text = self._joined(raw)
            if reason:
                results.append({"response": text, "finish_reason": reason})
            elif text:
                results.append({"response": text})
        return results

    def end(self, outcome: Outcome) -> Result:
        """Return the rest of the text, mostly none, and the usage."""
        rest = self._decoder.decode(b"", final=True)
        return {"response": rest, "usage": usage_of(outcome.usage)}

    def _joined(self, raw: bytes) -> str:
        """Return the text with what was left of the part before; the decoder keeps what is left."""
        text = self._decoder.decode(raw)
        self._is_cut = self._decoder.getstate()[0] != b""
        return text


def _finish_reason(outputs: Mapping[str, Tensor]) -> Result:
    """Return why the text ended, if the answer says so."""
    reason = _reason(outputs.get("finish_reason"))
    return {"finish_reason": reason} if reason else {}


def _reason(tensor: Tensor | None) -> str:
    """Return the word; vLLM writes "None" while it has not ended."""
    words = tensor.texts() if tensor else []
    reason = words[-1].decode("utf-8", "replace") if words else ""
    return "" if reason in ("None", "null") else reason
