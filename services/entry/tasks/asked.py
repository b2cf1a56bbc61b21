"""What one call of text-generation asks for beside text: JSON, or that tools are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from libs.common.catalog import Model
from services.entry.tasks.dialects.base import TextDialect
from services.entry.tasks.json_mode import JsonMode, json_mode_of
from services.entry.tasks.so_far import Told
from services.entry.tasks.tool_text import PARSERS, CallReader, ForcedReader, TextReader
from services.entry.tasks.tools import ToolCall, Tools, tools_of

Json = dict[str, Any]
FIELDS: Final = frozenset({"response_format", "tools", "tool_choice", "parallel_tool_calls"})
ENDS: Final = ("", "stop", "tool_calls")  # reasons that a call of a tool may stand behind


class Asked:
    """The wishes of one call, and how the answer is read for them."""

    __slots__ = ("_marks", "is_forced", "is_told", "json_mode", "tools")

    def __init__(
        self,
        json_mode: JsonMode | None,
        tools: Tools | None,
        *,
        is_forced: bool = False,
        is_told: bool = False,
        parser: str = "",
    ) -> None:
        self.json_mode = json_mode
        self.tools = tools
        self.is_forced = is_forced  # the text is guided to be one call
        self.is_told = is_told  # calls are told beside the text
        self._marks = PARSERS.get(parser)

    def __repr__(self) -> str:
        return f"<Asked {self.json_mode!r} {self.tools!r}>"

    def reader(self) -> CallReader | None:
        """Return what finds the calls in a text; None where there are none to be found."""
        if self.tools is None or self.is_told:
            return None
        if self.is_forced:
            return ForcedReader(self.tools)
        return TextReader(self._marks, self.tools.names) if self._marks else None

    def answer(self, text: str, told: Told) -> Json:
        """Return the result without its usage; raises JsonModeFailed."""
        calls = calls_of(told.calls)
        if (reader := self.reader()) is not None:
            text, calls = _read_all(reader, text)
        if calls and self.tools is not None:
            reason = "tool_calls" if told.reason in ENDS else told.reason
            told_calls = self.tools.told(calls)
            return {"response": text.strip(), "tool_calls": told_calls, "finish_reason": reason}
        result: Json = {"response": text}
        if self.json_mode is not None:
            result["response"] = self.json_mode.read(text, told.reason)
        if told.reason:
            result["finish_reason"] = told.reason
        return result


def asked_of(values: Mapping[str, Any], dialect: TextDialect, model: Model) -> Asked | None:
    """Read what a body asks for; None where that is text alone. Raises BadInput."""
    json_mode = json_mode_of(values.get("response_format"))
    tools = tools_of(values)
    if json_mode is None and tools is None:
        return None
    is_told = dialect.calls_tools(values)
    is_guided = not is_told and dialect.is_guided(values)
    return Asked(
        json_mode,
        tools,
        is_forced=is_guided and tools is not None and bool(tools.forced),
        is_told=is_told,
        parser=model.backend.tool_parser,
    )


def guide_of(asked: Asked, dialect: TextDialect, values: Mapping[str, Any]) -> Json | None:
    """Return what the text is guided by, as vLLM names it; None where it is not."""
    if asked.is_forced and asked.tools is not None:
        return {"json": asked.tools.forced_schema()}
    if asked.json_mode is None or asked.tools is not None or not dialect.is_guided(values):
        return None
    schema = asked.json_mode.schema
    return {"json_object": True} if schema is None else {"json": schema}


def calls_of(told: Sequence[Any]) -> list[ToolCall]:
    """Return the calls that a server told beside its text."""
    functions = [(each, each.get("function") or {}) for each in told if isinstance(each, dict)]
    return [
        ToolCall(
            str(function["name"]), str(function.get("arguments") or "{}"), each.get("id") or ""
        )
        for each, function in functions
        if function.get("name")
    ]


def _read_all(reader: CallReader, text: str) -> tuple[str, list[ToolCall]]:
    shown, calls = reader.feed(text)
    rest, more = reader.end()
    return shown + rest, calls + more
