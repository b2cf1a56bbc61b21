"""Chat templates: messages become the one text that a language model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from jinja2.exceptions import TemplateError

from services.entry.bad_input import bad_input
from services.entry.tasks.sandbox import SandboxedTemplate
from services.entry.tasks.tools import loaded, message_calls

PLAIN: Final = """\
{% for message in messages %}{{ message.role }}: {{ message.content }}
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"""
ROLES = ("system", "developer", "user", "assistant", "tool", "function")


class ChatTemplate:
    """A template as models come with it, run in a sandbox."""

    def __init__(self, text: str = PLAIN) -> None:
        self._template = SandboxedTemplate(text)

    def prompt(self, messages: Sequence[Mapping[str, Any]], *, tools: Any = None) -> str:
        """Return the prompt for the assistant's next turn; raises BadInput."""
        try:
            return self._template.render(
                {
                    "messages": [_plain(message, at) for at, message in enumerate(messages)],
                    "tools": tools,
                    "add_generation_prompt": True,
                    "bos_token": "",
                    "eos_token": "",
                }
            )
        except (TemplateError, TypeError, ValueError, RecursionError) as error:
            raise bad_input(["messages"], f"the model's template refuses them: {error}") from error


def _plain(message: Mapping[str, Any], at: int) -> dict[str, Any]:
    """Return a message as templates know it: one text, no new role, no null for what is absent."""
    role = "system" if message["role"] == "developer" else message["role"]
    said = {name: value for name, value in message.items() if value is not None}
    if "tool_calls" in said:
        said["tool_calls"] = [_called(each) for each in message_calls(said["tool_calls"])]
    return {**said, "role": role, "content": _text(message.get("content"), at)}


def _called(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a call of a tool with its arguments as the object that templates write as JSON."""
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    return {**call, "function": {**function, "arguments": loaded(function["arguments"])}}


def _text(content: Any, at: int) -> str:
    if isinstance(content, str):
        return content
    return "".join(_part(part, at, index) for index, part in enumerate(content or ()))


def _part(part: Mapping[str, Any], at: int, index: int) -> str:
    if part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    where = ("messages", at, "content", index)
    raise bad_input(where, 'this model reads text alone: expected {"type": "text", "text": "..."}')
