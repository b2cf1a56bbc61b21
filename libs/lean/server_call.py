"""A call as a server sees it: what was asked, and the ways to answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from libs.eager import Promise
from libs.lean import frames
from libs.lean.frames import ErrorCode
from libs.lean.headers import Field, Head, encode
from libs.lean.heads import Request
from libs.lean.messages import (
    PREFIX,
    PREFIX_BYTES,
    Assembler,
    Compressed,
    Message,
    TooLarge,
    framed,
    is_one,
    size_of,
)
from libs.lean.status import Status, quoted
from libs.lean.streams import Stream

if TYPE_CHECKING:
    from libs.lean.server_connection import ServerConnection

_START: Final = ((":status", "200"), ("content-type", "application/grpc"))
OK_START: Final = Head(encode(_START))
OK_END: Final = Head(encode([("grpc-status", "0")]), end_stream=True)
PLAIN_TEXT: Final = b"This is a gRPC server.\n"
PLAIN_START: Final = Head(
    encode(
        [
            (":status", "415"),
            ("content-type", "text/plain"),
            ("grpc-status", str(int(Status.UNIMPLEMENTED))),
        ]
    )
)
log = logging.getLogger(__name__)


class ServerCall(Stream[Request]):
    """One call. Once it is over, all that is done to it is without effect."""

    __slots__ = (
        "_assembler",
        "_has_ended",
        "_is_started",
        "_message",
        "_room",
        "_server",
        "due",
        "is_over",
        "on_cancel",
        "request",
    )

    def __init__(self, connection: ServerConnection, stream_id: int, request: Request) -> None:
        self.connection = self._server = connection  # as what it is to all, and to us
        self.id = stream_id
        self.send_window = connection.initial_send_window
        self.window = connection.initial_window
        self.queue = None
        self.expected = request.content_length
        self.request = request
        self.on_cancel: Callable[[], object] | None = None
        self.due: float | None = None
        self.is_over = False
        self._assembler: Assembler | None = None
        self._message: bytes | None = None
        self._has_ended = False  # the client has sent all
        self._is_started = False  # our headers are sent
        self._room: Promise[None] | None = None

    def __repr__(self) -> str:
        state = "over" if self.is_over else "answering" if self._is_started else "asked"
        return f"<ServerCall {self.path} {state}>"

    @property
    def path(self) -> str:
        """Return the method that is called."""
        return self.request.path

    @property
    def metadata(self) -> Mapping[str, str]:
        """Return the request's headers, names in lower case."""
        return self.request.metadata

    @property
    def peer_uris(self) -> tuple[str, ...]:
        """Return whom the client's certificate names as URIs; nothing where it has shown none."""
        return self._server.peer_uris

    # answering

    def finish(self, message: Message) -> None:
        """Answer with one message, and be done."""
        if self.is_over:
            return
        connection = self.connection
        size = size_of(message)
        if not self._is_started and connection.can_send(self, size + 5):
            connection.send_window -= size + 5
            start = OK_START.with_message(self.id, 0, size)
            whole = message if isinstance(message, bytes) else b"".join(message)
            connection.write(start + whole + OK_END.frame(self.id))
            self.is_over = True
            self.on_sent()
        else:
            self._start()
            connection.enqueue(self, framed(message), size + 5)
            self._end(OK_END.frame(self.id))

    def send(self, messages: Sequence[bytes]) -> Promise[None] | None:
        """Answer with messages, more to follow; None if there is room for those, too.

        Otherwise the promise tells when there is, or that the call is over.
        """
        if self.is_over or not messages:
            return None
        self._start()
        connection = self.connection
        if len(messages) == 1:  # as mostly
            size = len(messages[0]) + PREFIX_BYTES
            if connection.can_send(self, size):
                connection.write_message(self, messages[0], size)
                return None
        chunks: list[bytes] = []
        for message in messages:
            chunks += (PREFIX.pack(0, len(message)), message)
        size = sum(map(len, chunks))
        if connection.can_send(self, size):
            connection.write_data(self, chunks, size)
            return None
        connection.enqueue(self, chunks, size)
        if self._has_room():
            return None
        if self._room is None or self._room.done:
            self._room = Promise(connection.loop)
        return self._room

    def end(self) -> None:
        """Be done, once all is sent."""
        if not self.is_over:
            self._start()
            self._end(OK_END.frame(self.id))

    def fail(self, status: int, message: str, trailers: Sequence[Field] = ()) -> None:
        """Be done, and say why. ValueError for trailers that no header can hold."""
        if self.is_over:
            return
        fields = [("grpc-status", str(int(status))), *trailers]
        if message:
            fields.insert(1, ("grpc-message", quoted(message)))
        block = encode(fields if self._is_started else (*_START, *fields))
        flags = frames.END_HEADERS | frames.END_STREAM
        self._end(frames.frame(frames.HEADERS, flags, self.id, block))

    def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            self.connection.write(OK_START.frame(self.id))

    def _end(self, last: bytes) -> None:
        self.is_over = True
        self.on_cancel = None
        if self.queue is not None:
            self.queue.last = last
        else:
            self.connection.write_last(self, last)

    def on_sent(self) -> None:
        """Let go of the stream: all is sent."""
        connection = self.connection
        self.on_cancel = None
        if self.due is not None:
            self._server.timers.discard(self)  # type: ignore[arg-type]  # it has a due
        if self._has_ended:
            connection.forget(self)
        else:
            connection.reset(self.id, ErrorCode.NO_ERROR)  # "please stop sending"

    def on_room(self) -> None:
        """Tell who waits to send more."""
        room = self._room
        if room is not None and self._has_room():
            self._room = None
            self.connection.ready.append(lambda: room.resolve(None))

    def _has_room(self) -> bool:
        return self.queue is None or self.queue.size <= self.connection.limits.send_buffer

    # the client's end of it

    def expire(self) -> None:
        """Hear that the time is up that the client gives it."""
        hook = self.on_cancel
        if self.queue is not None:  # trailers may not come within a message
            self.connection.reset(self.id, ErrorCode.CANCEL)
            self._cancel()
        else:
            self.fail(Status.DEADLINE_EXCEEDED, "the time that the client gave it is up")
            self._call_soon(hook)

    def shut_down(self) -> None:
        """Hear that the server will wait no longer."""
        hook = self.on_cancel
        self.fail(Status.UNAVAILABLE, "the server is shutting down")
        self._call_soon(hook)

    def on_reset(self, code: int) -> None:
        """Stop, as the client wants it."""
        self._cancel()

    def on_broken(self, text: str) -> None:
        """Stop, by the client's mistake."""
        self._cancel()

    def on_lost(self, text: str) -> None:
        """Stop, with the connection."""
        self._cancel()

    def _cancel(self) -> None:
        hook, self.on_cancel = self.on_cancel, None
        was_over, self.is_over = self.is_over, True
        if self.due is not None:
            self._server.timers.discard(self)  # type: ignore[arg-type]  # it has a due
        self.on_room()
        if not was_over:
            self._call_soon(hook)

    def _call_soon(self, hook: Callable[[], object] | None) -> None:
        if hook is not None:
            self.connection.ready.append(hook)
            self.connection.wake()

    # the request

    def begin(self, ended: bool) -> None:
        """Take the request's headers."""
        request = self.request
        if request.timeout_s is not None:
            self.due = time.monotonic() + request.timeout_s
            self._server.timers.add(self)  # type: ignore[arg-type]  # it has a due
        if ended:
            self._end_request()

    def on_headers(self, parsed: Request, ended: bool) -> None:
        """Take trailers, which mean nothing in gRPC."""
        if self._has_ended:
            self.break_off("headers after the end", ErrorCode.STREAM_CLOSED)
        elif parsed.malformed or not parsed.is_trailers or not ended:
            self.break_off("malformed trailers")
        else:
            self._end_request()

    def on_data(self, payload: bytes, ended: bool) -> None:
        """Take the request's message, or a piece of it."""
        if self._has_ended:
            self.break_off("data after the end", ErrorCode.STREAM_CLOSED)
            return
        if self.is_over:
            return
        if self.request.is_to_be_read:
            self._take(payload)
        elif self.window < self.connection.limits.stream_window // 2:
            self.open_window(self.connection.limits.stream_window)
        if ended:
            self._end_request()

    def _take(self, payload: bytes) -> None:
        limit = self.connection.limits.max_message_bytes
        if self._message is None and self._assembler is None and is_one(payload, limit):
            self._message = payload[PREFIX_BYTES:]
            return
        if self._assembler is None:
            self._assembler = Assembler(limit)
        messages = [] if self._message is None else [self._message]
        try:
            self._assembler.feed(payload, messages)
        except TooLarge as error:
            self.fail(Status.RESOURCE_EXHAUSTED, str(error))
        except Compressed:
            status = Status.UNIMPLEMENTED if self.request.is_encoded else Status.INTERNAL
            self.fail(status, "a compressed message; only identity is accepted")
        missing = self._assembler.missing
        if len(messages) > 1 or (messages and missing):
            self.fail(Status.UNIMPLEMENTED, "more than one message for a request")
        elif messages:
            self._message = messages[0]
        elif missing:
            self.open_window(missing)

    def _end_request(self) -> None:
        if self.expected > 0:
            self.break_off("less than its content-length")
            return
        self._has_ended = True
        if self.is_over:
            return
        request = self.request
        if request.is_plain:
            self._answer_plainly()
        elif request.refusal is not None:
            self.fail(*request.refusal)
        elif self._assembler is not None and self._assembler.missing:
            self.fail(Status.INTERNAL, "the request ends within a message")
        elif self._message is None:
            self.fail(Status.UNIMPLEMENTED, "the request has no message")
        else:
            self.connection.arrived.append(self)

    def _answer_plainly(self) -> None:
        self.is_over = True
        self.connection.write(PLAIN_START.frame(self.id))
        self.connection.enqueue(self, [PLAIN_TEXT], len(PLAIN_TEXT), end_stream=True)

    def deliver(self) -> None:
        """Hand the request to who answers it."""
        message, self._message = self._message, None
        if self.is_over or message is None:
            return
        try:
            self._server.handlers[self.path](self, message)
        except (Exception, asyncio.CancelledError):
            log.exception("the handler of %s failed", self.path)
            self.fail(Status.INTERNAL, "internal error")


Handler: TypeAlias = Callable[[ServerCall, bytes], None]
