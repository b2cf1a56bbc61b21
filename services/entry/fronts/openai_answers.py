"""Whole answers in OpenAI's form, made of our results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from services.entry.tasks.base import Result


def chat_completion(
    results: Sequence[Result], *, request_id: str, model: str, created: int
) -> Result:
    """Return a chat.completion with a choice for each result."""
    return {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [_chat_choice(at, result, request_id) for at, result in enumerate(results)],
        "usage": added_up([result["usage"] for result in results]),
    }


def text_completion(
    results: Sequence[Result], *, request_id: str, model: str, created: int
) -> Result:
    """Return a text_completion with a choice for each result."""
    return {
        "id": f"cmpl-{request_id}",
        "object": "text_completion",
        "created": created,
        "model": model,
        "choices": [_text_choice(at, result) for at, result in enumerate(results)],
        "usage": added_up([result["usage"] for result in results]),
    }


def _chat_choice(index: int, result: Result, request_id: str) -> Result:
    message: Result = {"role": "assistant", "content": said(result), "refusal": None}
    reason = result.get("finish_reason", "stop")
    if "tool_calls" in result and (calls := called(result, f"{request_id}_{index}")):
        message["tool_calls"] = calls
        message["content"] = message["content"] or None
        reason = "tool_calls" if reason == "stop" else reason
    return {"index": index, "message": message, "logprobs": None, "finish_reason": reason}


def _text_choice(index: int, result: Result) -> Result:
    reason = result.get("finish_reason", "stop")
    return {"index": index, "text": said(result), "logprobs": None, "finish_reason": reason}


def said(result: Result) -> str:
    """Return the text of a result; what JSON mode has read stands as JSON again."""
    response = result["response"]
    if type(response) is str:
        return response
    return "" if response is None else orjson.dumps(response).decode()


def called(result: Result, number: str, first: int = 0) -> list[Result]:
    """Return the calls of tools in a result, each with an id, its arguments as JSON."""
    calls = enumerate(result["tool_calls"], first)
    return [_call(call, f"call_{number}_{at}") for at, call in calls]


def _call(call: Mapping[str, Any], number: str) -> Result:
    function = call.get("function") or call  # in the older form the name stands by itself
    arguments = function.get("arguments")
    if type(arguments) is not str:
        arguments = orjson.dumps(arguments or {}).decode()
    told = {"name": function["name"], "arguments": arguments}
    return {"id": call.get("id") or number, "type": "function", "function": told}


def added_up(usages: Sequence[Result]) -> Result:
    """Return the usage of all choices together; each has read the prompt for itself."""
    first = usages[0]
    if len(usages) == 1:
        return first
    sums = {name: sum(each[name] for each in usages) for name in first if type(first[name]) is int}
    return {**first, **sums}
