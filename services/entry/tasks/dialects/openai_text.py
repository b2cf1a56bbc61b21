"""Text over OpenAI's API, as bodies in JSON; vLLM and SGLang take some more than the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from libs.common.catalog import Model
from libs.common.envelope import PayloadKind
from libs.common.errors import ModelFailed
from services.entry.tasks.dialects.base import SAMPLING, PartsReader, TextDialect, stops
from services.entry.tasks.so_far import Told
from services.entry.tasks.tools import message_calls

TAKES_MORE: Final = ("vllm", "sglang")
NOT_OPENAIS: Final = ("top_k", "repetition_penalty")
OF_TOOLS: Final = ("tools", "tool_choice", "parallel_tool_calls")


class OpenAiText(TextDialect):
    """Writes a prompt where entry has the chat template, or was asked to; else the messages.

    After a break a prompt goes on anywhere, messages where the server continues the last one.
    """

    payload_kind = PayloadKind.HTTP_BODY

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._takes_more = model.backend.dialect in TAKES_MORE
        self._has_template = bool(model.backend.chat_template)
        dropped = () if self._takes_more else NOT_OPENAIS
        self._sampling = [name for name in SAMPLING if name not in dropped]
        self._parts = EventsReader()

    def reader(self) -> PartsReader:
        """Return what reads events."""
        return self._parts

    def payload(self, values: Mapping[str, Any], *, stream: bool, adapter: str) -> bytes:
        """Write the body; the server tells by its first key which route it is for."""
        is_prompt = self._is_prompt(values)
        body: dict[str, Any] = {"prompt": values["text"]} if is_prompt else _conversation(values)
        body["model"] = adapter or self.model.served_as
        body |= {name: values[name] for name in self._sampling if name in values}
        if words := stops(values):
            body["stop"] = words
        if "asked" in values:
            body |= _asked(values, is_prompt=is_prompt)
        body["stream"] = stream
        if stream:
            body["stream_options"] = {"include_usage": True}
            if self._takes_more:
                body["stream_options"]["continuous_usage_stats"] = True
        return orjson.dumps(body)

    def answer(self, payload: bytes) -> tuple[bytes, Told]:
        """Return the text of the one choice, and why it ended."""
        text, told = _read(payload)
        if text is None and not told.calls:
            raise ModelFailed("the model's answer has no text", sent=True)
        return text or b"", told

    def rest(self, values: Mapping[str, Any], text: str, tokens: int) -> Mapping[str, Any] | None:
        """Return the prompt with the text, or the conversation whose last message it begins."""
        if self._is_prompt(values):
            return super().rest(values, text, tokens)
        if not self._takes_more and text:
            return None
        return {**values, "said": text, "max_tokens": values["max_tokens"] - tokens}

    def is_guided(self, values: Mapping[str, Any]) -> bool:
        """Whether it is asked by a prompt, and of those that take more than OpenAI's own."""
        return self._takes_more and self._is_prompt(values)

    def calls_tools(self, values: Mapping[str, Any]) -> bool:
        """Whether it gets the messages: then the server has the template, and knows its model."""
        return not self._is_prompt(values)

    def _is_prompt(self, values: Mapping[str, Any]) -> bool:
        return self._has_template or (bool(values["raw"]) and "prompt" in values)


class EventsReader:
    """Reads the events of a stream."""

    def read(self, payloads: Sequence[bytes]) -> list[tuple[list[bytes], Told]]:
        """Return the text that each adds, mostly none at its first and last."""
        read = map(_read, payloads)
        return [([text or b""], told) for text, told in read]


def _conversation(values: Mapping[str, Any]) -> dict[str, Any]:
    messages = values.get("messages") or [{"role": "user", "content": values["prompt"]}]
    if any(message.get("tool_calls") for message in messages):
        messages = [_with_calls(message) for message in messages]
    if not values.get("said"):
        return {"messages": messages}
    begun = {"role": "assistant", "content": values["said"]}
    how = {"add_generation_prompt": False, "continue_final_message": True}
    return {"messages": [*messages, begun], **how}


def _asked(values: Mapping[str, Any], *, is_prompt: bool) -> dict[str, Any]:
    """Return what a body says of JSON and tools; a prompt has the tools in its text."""
    if is_prompt:
        guide = values.get("guide")
        return {} if guide is None else {"response_format": _format(guide)}
    asked = {name: values[name] for name in OF_TOOLS if name in values}
    json_mode = values["asked"].json_mode
    return asked if json_mode is None else {**asked, "response_format": json_mode.openai_format()}


def _format(guide: Mapping[str, Any]) -> dict[str, Any]:
    if "json_object" in guide:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": guide["json"]}}


def _with_calls(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message whose calls of tools are in OpenAI's form."""
    calls = message.get("tool_calls")
    return {**message, "tool_calls": message_calls(calls)} if calls else message


def _read(payload: bytes) -> tuple[bytes | None, Told]:
    """Return the text of an answer or an event, None where it has none; raises ModelFailed."""
    try:
        body = orjson.loads(payload)
        usage = body.get("usage") or {}
        choice = body["choices"][0] if body.get("choices") else {}
        said = choice.get("delta") or choice.get("message") or choice
        text = said.get("text") if said is choice else said.get("content")
        raw = None if text is None else text.encode()
        tokens_in = int(usage.get("prompt_tokens") or 0)
        tokens_out = int(usage.get("completion_tokens") or 0)
        calls = said.get("tool_calls") or ()
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise ModelFailed("the model's answer cannot be read", sent=True) from error
    told = Told(
        str(choice.get("finish_reason") or ""),
        tokens_in=tokens_in,
        tokens_out=tokens_out if usage else int(bool(raw)),
        is_total=bool(usage),
        calls=calls if isinstance(calls, list) else (),
        cached=cached if isinstance(cached, int) else None,
    )
    return raw, told
