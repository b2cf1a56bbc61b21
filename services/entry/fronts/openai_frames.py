"""The chunks of streams in OpenAI's form: of chat completions, and of completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import orjson

from services.entry.calls import Plan
from services.entry.fronts.openai_answers import added_up, called, said
from services.entry.tasks.base import Result, Shown
from services.entry.tasks.texts import Texts

MARK: Final = "<text>"


def chat_part(text: str) -> Result:
    """Return what a chat's chunk has of a text."""
    return {"delta": {"content": text} if text else {}}


def text_part(text: str) -> Result:
    """Return what a completion's chunk has of a text."""
    return {"text": text}


class Wording:
    """How one choice of a stream is written: all its chunks are alike but for head and text."""

    __slots__ = ("begins", "ends", "first", "index", "part")

    def __init__(self, index: int, part: Callable[[str], Result], first: Result | None) -> None:
        self.index = index
        self.part = part
        self.begins, _, self.ends = self.choice(part(MARK)).partition(MARK.encode())
        self.first = b"" if first is None else self.choice(first)

    def __repr__(self) -> str:
        return f"<Wording of choice {self.index}>"

    def choice(self, part: Result, finish_reason: str | None = None) -> bytes:
        """Return the rest of a chunk, after its head."""
        choice = {"index": self.index, **part, "logprobs": None, "finish_reason": finish_reason}
        return b"," + orjson.dumps({"choices": [choice]})[1:] + b"\n\n"


def chat_wording(index: int) -> Wording:
    """Return how a choice of a chat completion is written: its role comes first."""
    return Wording(index, chat_part, {"delta": {"role": "assistant", "content": ""}})


def text_wording(index: int) -> Wording:
    """Return how a choice of a completion is written."""
    return Wording(index, text_part, None)


CHAT: Final = chat_wording(0)  # as nearly all streams are written


class Head:
    """What all chunks of one stream begin with, but for the model that answers."""

    __slots__ = ("_created", "_kind", "_prefix", "request_id")

    def __init__(self, prefix: str, kind: str, request_id: str, created: int) -> None:
        self._prefix = prefix
        self._kind = kind
        self._created = created
        self.request_id = request_id

    def __repr__(self) -> str:
        return f"<Head of {self.request_id}>"

    def of(self, model: str) -> bytes:
        """Return the beginning of the chunks that this model makes."""
        head = {
            "id": f"{self._prefix}-{self.request_id}",
            "object": self._kind,
            "created": self._created,
            "model": model,
        }
        return b"data: " + orjson.dumps(head)[:-1]


def usage_chunk(head: bytes, usages: Sequence[Result]) -> bytes:
    """Return the last chunk of a stream that tells its usage."""
    told = orjson.dumps({"choices": [], "usage": added_up(usages)})
    return head + b"," + told[1:] + b"\n\n"


class ChoiceFrames:
    """Writes the chunks of one choice; the usage, too, where it is the only one."""

    def __init__(self, head: Head, wording: Wording, plan: Plan, includes_usage: bool) -> None:
        self.head = b""  # once it is known which model answers: what the first results show
        self.usage: Result = {}  # once all is shown
        self._of = head
        self._wording = wording
        self._plan = plan
        self._before = self._between = b""
        self._includes_usage = includes_usage
        self._finish_reason = "stop"
        self._calls = 0

    def __repr__(self) -> str:
        return f"<ChoiceFrames of {self._of!r} {self._wording!r}>"

    def __call__(self, shown: Sequence[Shown]) -> bytes:
        """Return the frames of what is shown: the role first, the reason and the usage last."""
        frames = [] if self.head else self._begin()
        ends = self._wording.ends
        for each in shown:
            if isinstance(each, Texts):
                frames += (self._before, each.escaped_with(self._between), ends)
                continue
            if text := said(each):
                frames += (self._before, orjson.dumps(text)[1:-1], ends)
            if "tool_calls" in each:
                frames.append(self._called(each))
            frames.append(self._end(each))
        return b"".join(frames)

    def _begin(self) -> list[bytes]:
        """Make what all chunks have, and return the first one, if that has no text."""
        wording = self._wording
        self.head = self._of.of(self._plan.model.name)
        self._before = self.head + wording.begins
        self._between = wording.ends + self._before
        return [self.head, wording.first] if wording.first else []

    def _called(self, result: Result) -> bytes:
        """Return the chunk of tools that are called, each whole."""
        number = f"{self._of.request_id}_{self._wording.index}"
        calls = called(result, number, self._calls)
        numbered = [{"index": self._calls + at, **call} for at, call in enumerate(calls)]
        self._calls += len(numbered)
        return self.head + self._wording.choice({"delta": {"tool_calls": numbered}})

    def _end(self, result: Result) -> bytes:
        """Return what a result says beside text: nothing yet, or all that comes last."""
        self._finish_reason = result.get("finish_reason", self._finish_reason)
        if "usage" not in result:
            return b""
        self.usage = result["usage"]
        reason = self._finish_reason
        if self._calls and reason == "stop":
            reason = "tool_calls"
        last = self.head + self._wording.choice(self._wording.part(""), reason)
        return last + usage_chunk(self.head, [self.usage]) if self._includes_usage else last
