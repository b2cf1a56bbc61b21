"""A client's connection: opens streams for calls as long as the server takes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from libs.lean import frames
from libs.lean.calls import Call
from libs.lean.frames import ConnectionFailure, ErrorCode
from libs.lean.headers import BlockReader
from libs.lean.heads import Answer, read_answer
from libs.lean.limits import Limits
from libs.lean.messages import framed, size_of
from libs.lean.session import Session
from libs.lean.status import Status
from libs.lean.streams import Stream

OnChange: TypeAlias = Callable[["ClientConnection"], None]
MANY_STREAMS: Final = 16
DENSE: Final = 3  # reads so many rests apart are too few to rest between them
ENOUGH: Final = 4096  # bytes of a read: what comes in such pieces has come together already


class ClientConnection(Session[Answer]):
    """`on_change` is called when there is room again, and when it takes no more calls.

    `reason` then says why not. `opened` is done once it takes calls or never will, `lost` once
    the transport is gone.
    """

    def __init__(
        self, target: str, limits: Limits, loop: asyncio.AbstractEventLoop, on_change: OnChange
    ) -> None:
        super().__init__(limits, loop, BlockReader(read_answer, limits.max_header_bytes))
        self.reason = ""
        self.asks_for_calm = False
        self.opened: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._target = target
        self._on_change = on_change
        self._next_id = 1
        self._is_leaving = False
        self._is_full = False
        self._coalesce_s = limits.coalesce_s
        self._last_read = 0.0  # in monotonic seconds, while many streams are under way

    def __repr__(self) -> str:
        state = self.reason if self._is_leaving else "open" if self.is_settled else "opening"
        return f"<ClientConnection {self._target} {state} calls={len(self.streams)}>"

    def takes_calls(self) -> bool:
        """Whether it is of any use for new calls, now or when others have ended."""
        return self.is_settled and not self._is_leaving

    def has_room(self) -> bool:
        """Whether the server takes one more call just now; if not, `on_change` tells when."""
        if len(self.streams) < self.peer_max_streams:
            return True
        self._is_full = True
        return False

    def open(self, call: Call) -> None:
        """Send a call."""
        stream_id = self._next_id
        self._next_id += 2
        call.id = stream_id
        if call.is_streaming:
            self.streaming += 1
        call.connection = self
        call.window = self.initial_window
        call.send_window = self.initial_send_window
        self.streams[stream_id] = call
        method, message = call.method, call.message
        call.message = b""
        head = (
            method.timed_head(self._target, call.due - time.monotonic())
            if method.tell_deadline
            else method.head(self._target)
        )
        size = size_of(message)
        if self.can_send(call, size + 5):
            self.send_window -= size + 5
            start = head.with_message(stream_id, frames.END_STREAM, size)
            rest = message if isinstance(message, bytes) else b"".join(message)
            self.write(start + rest)
        else:
            self.write(head.frame(stream_id))
            self.enqueue(call, framed(message), size + 5, end_stream=True)
        if stream_id >= frames.HIGHEST_ID - 2:
            self._leave("all stream numbers are used")

    def forget(self, stream: Stream[Answer]) -> None:
        """Let go of a call; another may take its place."""
        super().forget(stream)
        if self._is_full:
            self._is_full = False
            self._on_change(self)
        if self._is_leaving:
            self._close_soon()

    def close(self, text: str) -> None:
        """End the connection; calls in flight hear why."""
        super().close(f"{text}; {self.reason}" if self.reason and self.streams else text)

    def _close_soon(self) -> None:
        if not self.streams:
            self.ready.append(lambda: self.close(self.reason))
            self.wake()

    def _leave(self, reason: str) -> None:
        """Take no more calls; close when those in flight have ended."""
        if not self._is_leaving:
            self._is_leaving = True
            self.reason = reason
            self._on_change(self)
        self._close_soon()

    # what the server says

    def data_received(self, data: bytes) -> None:
        """Read it; where many streams bring small parts, let the next ones come together."""
        super().data_received(data)
        if self._coalesce_s and self.streaming >= MANY_STREAMS and len(data) < ENOUGH:
            now = time.monotonic()
            if now - self._last_read < DENSE * self._coalesce_s:
                self.turns.rest(self._coalesce_s)
            self._last_read = now

    def opening(self) -> tuple[bytes, tuple[tuple[int, int], ...]]:
        """Begin as clients do; nothing may be pushed."""
        return frames.PREFACE, ((frames.ENABLE_PUSH, 0),)

    def is_idle(self, stream_id: int) -> bool:
        """Whether we have not opened it; servers open none."""
        return stream_id >= self._next_id or not stream_id & 1

    def on_settings(self) -> None:
        """Take calls, or more of them."""
        self._tell(self.opened)
        if self._is_full:
            self._is_full = False
            self._on_change(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell all whose calls are lost."""
        super().connection_lost(error)
        self._tell(self.opened)
        self._tell(self.lost)

    @staticmethod
    def _tell(waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)

    def on_new_headers(self, stream_id: int, parsed: Answer, ended: bool) -> None:
        """Refuse headers of a stream that is not there."""
        if self.is_idle(stream_id):
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "headers of an idle stream")
        raise ConnectionFailure(ErrorCode.STREAM_CLOSED, "headers of a closed stream")

    def on_goaway(self, last_id: int, code: int, text: str) -> None:
        """Finish what the server still takes; the rest may go elsewhere."""
        reason = f"the server goes away: {frames.name_of(code)} {text}".rstrip()
        self.asks_for_calm = code == ErrorCode.ENHANCE_YOUR_CALM and text == "too_many_pings"
        for stream in [each for each in self.streams.values() if each.id > last_id]:
            super().forget(stream)
            assert isinstance(stream, Call)
            stream.fail(Status.UNAVAILABLE, reason, sent=False)
        self._leave(reason)

    def on_over(self, text: str) -> None:
        """Be of no more use."""
        self.reason = self.reason or text
        self._is_leaving = True
        self._on_change(self)
