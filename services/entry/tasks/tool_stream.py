"""A stream in which tools may be called: text as it comes, and each call once it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from libs.common.envelope import Outcome, Usage
from services.entry.tasks.asked import ENDS, Asked, calls_of
from services.entry.tasks.base import ParsedInput, Renderer, Result, Shown
from services.entry.tasks.texts import Texts, one_by_one
from services.entry.tasks.tool_text import CallReader
from services.entry.tasks.tools import ToolCall, Tools

MOST_CALLS: Final = 128  # of one stream; what else a server sends is passed over


class ToolStream:
    """Renders as the stream of text within does, and finds the calls in what that shows."""

    def __init__(self, within: Renderer, asked: Asked, tools: Tools) -> None:
        self._within = within
        self._tools = tools
        self._reader: CallReader | None = asked.reader()
        self._is_forced = asked.is_forced
        self._pieces: dict[int, dict[str, Any]] = {}  # of calls that are told in pieces
        self._told = 0

    def __repr__(self) -> str:
        return f"<ToolStream calls={self._told} {self._within!r}>"

    @property
    def parts_seen(self) -> int:
        """How many parts there were."""
        return self._within.parts_seen

    def parts(self, payloads: Sequence[bytes]) -> list[Shown]:
        """Return the text that is none of a call, and the calls that are whole."""
        shown: list[Shown] = []
        for each in self._within.parts(payloads):
            if isinstance(each, Texts):
                text, calls = self._read("".join(each.each()))
                shown += self._shown(text, calls)
            else:
                shown += self._result(each)
        return shown

    def end(self, outcome: Outcome) -> Result:
        """Return the rest of the text, calls that nobody said were whole, and the usage."""
        result = self._within.end(outcome)
        text, calls = self._read(result["response"])
        return self._last(result, text, calls)

    def used_if_whole(self, parsed: ParsedInput) -> Usage | None:
        """Return what its last attempt used if a stream broke after all was said, else None."""
        return self._within.used_if_whole(parsed)

    def rest(self, parsed: ParsedInput) -> ParsedInput | None:
        """Return the input that goes on; None where a call has begun that would begin anew."""
        return None if self._pieces or self._is_forced else self._within.rest(parsed)

    def _read(self, text: str) -> tuple[str, list[ToolCall]]:
        return (text, []) if self._reader is None else self._reader.feed(text)

    def _result(self, result: Result) -> list[Shown]:
        """Show what says more than text: pieces of calls, or why the stream ended."""
        text, calls = self._read(result["response"])
        calls += self._joined(result.get("tool_calls", ()))
        if "finish_reason" in result:
            return [self._last(result, text, calls)]
        return self._shown(text, calls)

    def _last(self, result: Result, text: str, calls: list[ToolCall]) -> Result:
        """Return a result behind which no text follows, with all that was held back."""
        if self._reader is not None:
            rest, more = self._reader.end()
            text, calls = text + rest, calls + more
        calls = calls + calls_of([self._pieces.pop(at) for at in sorted(self._pieces)])
        result = {**result, "response": text}
        result.pop("tool_calls", None)
        if calls:
            result["tool_calls"] = self._numbered(calls)
        if self._told and result.get("finish_reason") in ENDS:
            result["finish_reason"] = "tool_calls"
        return result

    def _shown(self, text: str, calls: list[ToolCall]) -> list[Shown]:
        if not calls:
            return list(one_by_one([text]))
        return [{"response": text, "tool_calls": self._numbered(calls)}]

    def _numbered(self, calls: list[ToolCall]) -> list[Result]:
        first = self._told
        self._told += len(calls)
        return self._tools.told(calls, first)

    def _joined(self, pieces: Sequence[Any]) -> list[ToolCall]:
        """Add pieces of calls; return those that are whole, as a later one has begun."""
        whole: list[ToolCall] = []
        for piece in pieces:
            at = piece.get("index", 0) if isinstance(piece, dict) else None
            if not isinstance(at, int) or at >= MOST_CALLS:
                continue
            if at not in self._pieces:
                whole += calls_of([self._pieces.pop(each) for each in sorted(self._pieces)])
                self._pieces[at] = {"function": {"arguments": ""}}
            _add(self._pieces[at], piece)
        return whole


def _add(call: dict[str, Any], piece: dict[str, Any]) -> None:
    """Add what a piece says to the call that it is of."""
    function = piece.get("function") or {}
    call["id"] = piece.get("id") or call.get("id")
    if name := function.get("name"):
        call["function"]["name"] = name
    call["function"]["arguments"] += str(function.get("arguments") or "")
