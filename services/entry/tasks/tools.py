"""The tools of one call, and the model's calls of them, each in both forms that clients know.

The older form is `{name, description, parameters}`, and calls are `{name, arguments}` with an
object; OpenAI's is `{type: "function", function: {...}}`, and arguments are JSON in a string.
Calls are told in the form in which the tools were.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from services.entry.bad_input import bad_input
from services.entry.tasks.schema import Schema

Json = dict[str, Any]
NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 256}
OBJECT: Final[Schema] = {"type": "object"}
FUNCTION: Final[Schema] = {
    "type": "object",
    "properties": {
        "name": NAME,
        "description": {"type": ["string", "null"]},
        "parameters": {"type": ["object", "null"]},
    },
    "required": ["name"],
}
TOOL: Final[Schema] = {
    "type": "object",
    "properties": {"type": {"const": "function"}, "function": FUNCTION},
    "anyOf": [FUNCTION, {"required": ["type", "function"]}],
}
TOOL_CHOICE: Final[Schema] = {
    "anyOf": [
        {"enum": ["auto", "none", "required"]},
        {
            "type": "object",
            "properties": {"type": {"const": "function"}, "function": FUNCTION},
            "required": ["type", "function"],
        },
    ]
}


class ToolCall:
    """One call of a tool; `arguments` is JSON."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self, name: str, arguments: str, number: str = "") -> None:
        self.name = name
        self.arguments = arguments
        self.id = number or f"call_{secrets.token_hex(12)}"

    def __repr__(self) -> str:
        return f"<ToolCall {self.name}>"


class Tools:
    """What a call may use, and whether it must."""

    __slots__ = ("choice", "functions", "is_legacy", "names")

    def __init__(self, functions: Sequence[Json], choice: str | Json, *, is_legacy: bool) -> None:
        self.functions = functions  # in OpenAI's form
        self.choice = choice
        self.is_legacy = is_legacy
        self.names = frozenset(each["function"]["name"] for each in functions)

    def __repr__(self) -> str:
        return f"<Tools {' '.join(sorted(self.names))} choice={self.choice}>"

    @property
    def forced(self) -> list[Json]:
        """The functions one of which must be called; none where it need not be."""
        if self.choice == "required":
            return [each["function"] for each in self.functions]
        if isinstance(self.choice, str):
            return []
        name = self.choice["function"]["name"]
        return [each["function"] for each in self.functions if each["function"]["name"] == name]

    def forced_schema(self) -> Json | None:
        """Return what the one call must be that is forced: an object of name and arguments."""
        calls = [
            {
                "type": "object",
                "properties": {
                    "name": {"const": each["name"]},
                    "arguments": each.get("parameters") or OBJECT,
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for each in self.forced
        ]
        return calls[0] if len(calls) == 1 else {"anyOf": calls} if calls else None

    def told(self, calls: Iterable[ToolCall], first: int | None = None) -> list[Json]:
        """Return calls in the form of their tools; in a stream they are numbered from `first`."""
        told = [self._legacy(each) if self.is_legacy else _openai(each) for each in calls]
        if first is None:
            return told
        return [{"index": at, **each} for at, each in enumerate(told, first)]

    def _legacy(self, call: ToolCall) -> Json:
        return {"name": call.name, "arguments": loaded(call.arguments)}


def tools_of(values: Mapping[str, Any]) -> Tools | None:
    """Read `tools` and `tool_choice`; None where there are none to use. Raises BadInput."""
    tools: Sequence[Json] = values.get("tools") or ()
    choice = values.get("tool_choice") or "auto"
    if choice == "none":
        return None
    if not tools:
        if choice != "auto":
            raise bad_input(["tool_choice"], "there are no tools to choose from")
        return None
    functions = [_function(each) for each in tools]
    is_legacy = not any("function" in each for each in tools)
    made = Tools(functions, choice, is_legacy=is_legacy)
    if not isinstance(choice, str) and choice["function"]["name"] not in made.names:
        names = ", ".join(sorted(made.names))
        raise bad_input(["tool_choice", "function", "name"], f"expected one of the tools: {names}")
    return made


def loaded(arguments: str) -> Any:
    """Return the arguments as an object; as they are where they are none."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments


def message_calls(calls: Sequence[Any]) -> list[Any]:
    """Return the calls in a message as OpenAI's API has them, whichever form they came in."""
    return [_normal(each) if isinstance(each, dict) else each for each in calls]


def _function(tool: Json) -> Json:
    """Return a tool in OpenAI's form."""
    if "function" in tool:
        return tool
    function = {name: tool[name] for name in FUNCTION["properties"] if name in tool}
    return {"type": "function", "function": function}


def _openai(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _normal(call: Json) -> Json:
    if "function" in call or "name" not in call:
        return call
    arguments = call.get("arguments") or {}
    said = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    function = {"name": call["name"], "arguments": said}
    return {"id": call.get("id") or call["name"], "type": "function", "function": function}
