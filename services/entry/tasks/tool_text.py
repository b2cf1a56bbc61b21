"""Calls of tools in a model's text: found by the marks that its kind of model writes.

    reader = TextReader(HERMES, names)
    text, calls = reader.feed("Let me see. <tool_call>{...")   # "Let me see. ", []

What may become a call is held back until it is one, or is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import orjson

from services.entry.tasks.tools import ToolCall, Tools

Found = tuple[str, list[ToolCall]]  # the text around the calls, and the calls
BETWEEN: Final = " \t\r\n;,"  # what stands between two calls
_decoder: Final = json.JSONDecoder()


class CallReader(Protocol):
    """Takes a text in pieces, and tells what of it is text and what are calls."""

    def feed(self, text: str) -> Found:
        """Return what is certain after this piece."""
        ...

    def end(self) -> Found:
        """Return what is left."""
        ...


class Marks:
    """How a kind of model writes calls: JSON between two marks, or to the end of the text."""

    __slots__ = ("begin", "end", "is_first")

    def __init__(self, begin: str, end: str = "", *, is_first: bool = False) -> None:
        self.begin = begin
        self.end = end
        self.is_first = is_first  # calls are only at the beginning, and the mark may be missing

    def __repr__(self) -> str:
        return f"<Marks {self.begin} {self.end}>"


PARSERS: Final[Mapping[str, Marks]] = {
    "hermes": Marks("<tool_call>", "</tool_call>"),
    "llama3_json": Marks("<|python_tag|>", is_first=True),
    "mistral": Marks("[TOOL_CALLS]"),
}


class TextReader:
    """Finds the calls by their marks."""

    def __init__(self, marks: Marks, names: frozenset[str]) -> None:
        self._marks = marks
        self._names = names
        self._held = ""
        self._mark = ""  # with which the calls that are being read began
        self._is_inside = False
        self._is_over = False  # no call can follow

    def __repr__(self) -> str:
        return f"<TextReader {self._marks!r} held={len(self._held)}>"

    def feed(self, text: str) -> Found:
        """Return what is certain after this piece."""
        if self._is_over:
            return text, []
        self._held += text
        shown: list[str] = []
        calls: list[ToolCall] = []
        while self._step(shown, calls):
            pass
        return "".join(shown), calls

    def end(self) -> Found:
        """Return what is left."""
        held, self._held = self._held, ""
        if not self._is_inside:
            return held, []
        self._is_inside = False
        found = calls_in(held, self._names)
        return ("", found) if found else (self._mark + held, [])

    def _step(self, shown: list[str], calls: list[ToolCall]) -> bool:
        """Go on to the next mark; false where more text is needed."""
        if not self._is_inside:
            return self._begin_first(shown) if self._marks.is_first else self._begin(shown)
        end = self._marks.end
        body, mark, rest = self._held.partition(end) if end else ("", "", "")
        if not mark:
            return False
        found = calls_in(body, self._names)
        calls += found
        if not found:  # it only looked like a call
            shown.append(self._mark + body + mark)
        self._held, self._is_inside = rest, False
        return True

    def _begin(self, shown: list[str]) -> bool:
        before, mark, rest = self._held.partition(self._marks.begin)
        if mark:
            shown.append(before)
            self._held, self._mark, self._is_inside = rest, mark, True
            return True
        kept = overlap(self._held, self._marks.begin)
        shown.append(self._held[: len(self._held) - kept])
        self._held = self._held[len(self._held) - kept :]
        return False

    def _begin_first(self, shown: list[str]) -> bool:
        begun, mark = self._held.lstrip(), self._marks.begin
        if begun.startswith(mark):
            self._held, self._mark, self._is_inside = begun.removeprefix(mark), mark, True
        elif begun.startswith("{"):
            self._is_inside = True
        elif begun and not mark.startswith(begun):
            shown.append(self._held)
            self._held, self._is_over = "", True
        return False


class ForcedReader:
    """Reads a text that was guided to be one call, and nothing else."""

    def __init__(self, tools: Tools) -> None:
        self._names = tools.names
        self._text = ""

    def __repr__(self) -> str:
        return f"<ForcedReader held={len(self._text)}>"

    def feed(self, text: str) -> Found:
        """Hold the text back."""
        self._text += text
        return "", []

    def end(self) -> Found:
        """Return the call; the text, where it was cut off and is none."""
        text, self._text = self._text, ""
        found = calls_in(text, self._names)
        return ("", found) if found else (text, [])


def calls_in(text: str, names: frozenset[str]) -> list[ToolCall]:
    """Return the calls that a text consists of; none where it is anything else."""
    calls: list[ToolCall] = []
    for value in _values(text):
        for each in value if isinstance(value, list) else [value]:
            call = _call(each)
            if call is None or call.name not in names:
                return []
            calls.append(call)
    return calls


def overlap(text: str, mark: str) -> int:
    """Return how many characters at the end of a text begin a mark."""
    longest = min(len(text), len(mark) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(mark[:size])), 0)


def _values(text: str) -> Iterator[Any]:
    """Yield the JSON values that follow one another; None for what is no JSON."""
    text = text.strip(BETWEEN)
    at = 0
    while at < len(text):
        try:
            value, at = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            yield None
            return
        yield value
        while at < len(text) and text[at] in BETWEEN:
            at += 1


def _call(value: Any) -> ToolCall | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        return ToolCall(value["name"], arguments)
    if not isinstance(arguments, dict):
        return None
    try:
        return ToolCall(value["name"], orjson.dumps(arguments).decode())
    except TypeError:  # a number of more than 64 bits, or nested too deeply
        return None
