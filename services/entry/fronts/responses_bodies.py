"""The bodies of OpenAI's responses in our words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from libs.common.errors import BadInput
from services.entry.bad_input import bad_input
from services.entry.fronts.openai_bodies import (
    LEAST_TOP_P,
    NAME,
    OF_TEXT,
    Translated,
    stream_only_text,
    without_nulls,
)
from services.entry.fronts.openai_params import IGNORED, OF_RESPONSES, RESPONSES, refuse
from services.entry.fronts.responses_input import Path, messages_of
from services.entry.spelling import Spelling
from services.entry.tasks.schema import InputSchema, Schema

SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "model": NAME,
        "input": {"type": ["string", "array"], "minLength": 1, "minItems": 1},
        "instructions": {"type": "string"},
        "max_output_tokens": {"type": "integer", "minimum": 1},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "stream": {"type": "boolean", "default": False},
        "include": {"type": "array"},
        "metadata": {"type": "object"},
        "text": {
            "type": "object",
            "properties": {
                "format": {
                    "type": "object",
                    "properties": {"type": {"enum": ["text", "json_object", "json_schema"]}},
                    "required": ["type"],
                }
            },
        },
        "tools": {"type": "array", "items": {"type": "object"}},
        "tool_choice": {"type": ["string", "object"]},
        "parallel_tool_calls": {"type": "boolean"},
    },
    "required": ["model", "input"],
}
# Their names where the words are others, and what is not passed on at all.
NAMES: Final[Mapping[str, Path]] = {
    "max_tokens": ("max_output_tokens",),
    "response_format": ("text", "format"),
}
OF_TOOLS: Final = ("name", "description", "parameters", "strict")
_schema = InputSchema(SCHEMA)
_spelling = Spelling(SCHEMA["properties"], RESPONSES, OF_RESPONSES, OF_TEXT)
_own = ("model", "input", "instructions", "max_output_tokens", "text", "tools", "tool_choice")
_not_passed_on = frozenset({*_own, *RESPONSES, *IGNORED, *OF_RESPONSES})


class Asked:
    """Translates one body, and remembers where in it each of our messages stands."""

    def __init__(self) -> None:
        self._places: list[Path] = []

    def __repr__(self) -> str:
        return f"<Asked {self._places}>"

    def translate(self, body: Mapping[str, Any]) -> Translated:
        """Return the body in our words; raises BadInput."""
        _spelling.check(body)
        theirs = _schema.read(without_nulls(body))
        refuse(theirs, RESPONSES)
        found = messages_of(theirs.get("instructions"), theirs["input"])
        self._places = found.places
        ours = {name: value for name, value in theirs.items() if name not in _not_passed_on}
        ours["messages"] = found.messages
        if "max_output_tokens" in theirs:
            ours["max_tokens"] = theirs["max_output_tokens"]
        if "top_p" in ours:
            ours["top_p"] = max(ours["top_p"], LEAST_TOP_P)
        if "format" in theirs.get("text", {}):
            ours["response_format"] = _format(theirs["text"]["format"])
            stream_only_text(ours)
        if theirs.get("tools"):
            ours["tools"] = [_tool(each, at) for at, each in enumerate(theirs["tools"])]
        if "tool_choice" in theirs:
            ours["tool_choice"] = _choice(theirs["tool_choice"])
        return Translated(theirs["model"], ours, theirs)

    def in_their_words(self, error: BadInput) -> BadInput:
        """Return an error of one of our fields as that of theirs."""
        _, *path = error.pointer.split("/")
        problem = str(error).partition(": ")[2]
        if len(path) > 1 and path[0] == "messages" and int(path[1]) < len(self._places):
            place, rest = self._places[int(path[1])], path[2:]
            return bad_input([*place, *_steps(rest if len(place) > 1 else [])], problem)
        if path and path[0] == "messages":
            return bad_input(["input"], problem)
        if path and path[0] in NAMES:
            return bad_input([*NAMES[path[0]], *_steps(path[1:])], problem)
        return error


def _steps(path: list[str]) -> Path:
    return tuple(int(step) if step.isdigit() else step for step in path)


def _format(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the format as chats have it: what describes a schema stands together."""
    rest = {name: value for name, value in told.items() if name != "type"}
    return {"type": told["type"], **({"json_schema": rest} if rest else {})}


def _tool(tool: Mapping[str, Any], at: int) -> dict[str, Any]:
    """Return a tool as chats have it; raises BadInput for those that others would run."""
    if tool.get("type") != "function":
        raise bad_input(["tools", at, "type"], "tools are not run here: expected function")
    if not isinstance(tool.get("name"), str):
        raise bad_input(["tools", at, "name"], "expected a string")
    return {"type": "function", "function": {name: tool[name] for name in OF_TOOLS if name in tool}}


def _choice(choice: str | Mapping[str, Any]) -> str | dict[str, Any]:
    if isinstance(choice, str):
        return choice
    if choice.get("type") != "function" or not isinstance(choice.get("name"), str):
        text = 'expected auto, none, required or {"type": "function", "name": "..."}'
        raise bad_input(["tool_choice"], text)
    return {"type": "function", "function": {"name": choice["name"]}}
