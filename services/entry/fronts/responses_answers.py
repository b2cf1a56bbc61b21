"""A response in OpenAI's form: what it is made of, whole."""

from __future__ import annotations

from typing import Any, Final

from services.entry.calls import Plan
from services.entry.fronts.openai_answers import called, said
from services.entry.fronts.openai_bodies import Translated
from services.entry.tasks.base import Result

ECHOED: Final[Result] = {  # what is told again, and what it is where it was not said
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
}
# What is not here, or always the same.
FIXED: Final[Result] = {
    "background": False,
    "error": None,
    "incomplete_details": None,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": False,
    "top_logprobs": 0,
    "truncation": "disabled",
    "usage": None,
    "user": None,
}


class Response:
    """One response while it is made; which model answers is known once it does."""

    def __init__(self, translated: Translated, plan: Plan, request_id: str, created: int) -> None:
        self.request_id = request_id
        self.output: list[Result] = []
        self._theirs = translated.theirs
        self._plan = plan
        self._created = created

    def __repr__(self) -> str:
        return f"<Response {self.request_id} of {len(self.output)} items>"

    def shown(self, status: str = "in_progress", **told: Any) -> Result:
        """Return the response as it is now."""
        values = self._plan.parsed.values
        echoed = {name: self._theirs.get(name, default) for name, default in ECHOED.items()}
        return {
            "id": f"resp_{self.request_id}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "model": self._plan.model.name,
            "output": list(self.output),
            "temperature": values.get("temperature"),
            "top_p": values.get("top_p", 1.0),
            **FIXED,
            **echoed,
            **told,
        }

    def ended(self, finish_reason: str, usage: Result) -> Result:
        """Return the whole response."""
        if finish_reason != "length":
            return self.shown("completed", usage=usage_of(usage))
        why = {"reason": "max_output_tokens"}
        return self.shown("incomplete", usage=usage_of(usage), incomplete_details=why)

    def add(self, result: Result) -> None:
        """Take all that a result says."""
        text = said(result)
        calls = called(result, self.request_id) if "tool_calls" in result else []
        if text or not calls:
            status = "incomplete" if result.get("finish_reason") == "length" else "completed"
            self.output.append(self.message(text, status))
        self.output += [self.call(call) for call in calls]

    def message(self, text: str, status: str) -> Result:
        """Return the next item, if it is a text."""
        return {
            "id": f"msg_{self.request_id}_{len(self.output)}",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [text_part(text)],
        }

    def call(self, call: Result) -> Result:
        """Return an item that is the call of a tool."""
        return {
            "id": f"fc_{call['id'].removeprefix('call_')}",
            "type": "function_call",
            "status": "completed",
            "call_id": call["id"],
            **call["function"],
        }


def text_part(text: str) -> Result:
    """Return the part of a message that has its text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def usage_of(usage: Result) -> Result:
    """Return the usage as responses name it."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }
