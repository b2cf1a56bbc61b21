"""The events of a streamed response, in the order that OpenAI's clients expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from libs.common.errors import RequestError
from services.entry.fronts.bodies import error_body, sse
from services.entry.fronts.openai_answers import called, said
from services.entry.fronts.responses_answers import Response, text_part
from services.entry.tasks.base import Result, Shown
from services.entry.tasks.texts import Texts


class ResponseFrames:
    """Writes the events of one response; its text is kept, since its last events have it whole."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._sequence = 0
        self._texts: list[str] = []
        self._is_open = False  # a message is being written
        self._finish_reason = "stop"
        self._called = 0

    def __repr__(self) -> str:
        return f"<ResponseFrames {self._sequence} of {self._response!r}>"

    def __call__(self, shown: Sequence[Shown]) -> bytes:
        """Return the events of what is shown."""
        frames = [] if self._sequence else self._begin()
        for each in shown:
            if isinstance(each, Texts):
                frames += self._said(each.each())
                continue
            if text := said(each):
                frames += self._said([text])
            if "tool_calls" in each:
                frames += self._calls(each)
            self._finish_reason = each.get("finish_reason", self._finish_reason)
            if "usage" in each:
                frames += self._end(each["usage"])
        return b"".join(frames)

    def broken(self, error: RequestError) -> bytes:
        """Return the events of a response that failed: by its status, and as the SDKs raise it."""
        body = error_body(error)
        told = {"code": body["error"]["code"], "message": body["error"]["message"]}
        failed = self._event("response.failed", response=self._response.shown("failed", error=told))
        return failed + sse(body)

    def _event(self, kind: str, **told: Any) -> bytes:
        data = orjson.dumps({"type": kind, "sequence_number": self._sequence, **told})
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def _begin(self) -> list[bytes]:
        response = self._response.shown()
        kinds = ("response.created", "response.in_progress")
        return [self._event(kind, response=response) for kind in kinds]

    def _said(self, texts: Sequence[str]) -> list[bytes]:
        frames = [] if self._is_open else self._open()
        self._texts += texts
        kind, place = "response.output_text.delta", self._place()
        return frames + [self._event(kind, **place, delta=each, logprobs=[]) for each in texts]

    def _place(self) -> Result:
        """Return where the text of the message stands that is being written."""
        at, item = len(self._response.output), self._response.message("", "in_progress")
        return {"item_id": item["id"], "output_index": at, "content_index": 0}

    def _open(self) -> list[bytes]:
        """Begin a message."""
        self._is_open = True
        item = {**self._response.message("", "in_progress"), "content": []}
        at = len(self._response.output)
        return [
            self._event("response.output_item.added", output_index=at, item=item),
            self._event("response.content_part.added", **self._place(), part=text_part("")),
        ]

    def _close(self, status: str) -> list[bytes]:
        """End the message."""
        self._is_open = False
        text, place, at = "".join(self._texts), self._place(), len(self._response.output)
        self._texts.clear()
        item = self._response.message(text, status)
        frames = [
            self._event("response.output_text.done", **place, text=text, logprobs=[]),
            self._event("response.content_part.done", **place, part=text_part(text)),
            self._event("response.output_item.done", output_index=at, item=item),
        ]
        self._response.output.append(item)
        return frames

    def _calls(self, result: Result) -> list[bytes]:
        """Tell calls of tools, each whole; a message that was begun ends before them."""
        frames = self._close("completed") if self._is_open else []
        calls = called(result, self._response.request_id, self._called)
        self._called += len(calls)
        for call in calls:
            frames += self._call(self._response.call(call))
        return frames

    def _call(self, item: Result) -> list[bytes]:
        at, arguments = len(self._response.output), item["arguments"]
        begun = {**item, "status": "in_progress", "arguments": ""}
        place = {"item_id": item["id"], "output_index": at}
        kind = "response.function_call_arguments"
        frames = [
            self._event("response.output_item.added", output_index=at, item=begun),
            self._event(f"{kind}.delta", **place, delta=arguments),
            self._event(f"{kind}.done", **place, name=item["name"], arguments=arguments),
            self._event("response.output_item.done", output_index=at, item=item),
        ]
        self._response.output.append(item)
        return frames

    def _end(self, usage: Result) -> list[bytes]:
        frames = [] if self._is_open or self._response.output else self._open()
        if self._is_open:
            frames += self._close("incomplete" if self._finish_reason == "length" else "completed")
        whole = self._response.ended(self._finish_reason, usage)
        return [*frames, self._event(f"response.{whole['status']}", response=whole)]
