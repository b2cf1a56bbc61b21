"""Calls as a client sees them: one that gives an answer, one that gives a stream of messages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from libs.eager import Promise
from libs.lean.frames import ErrorCode
from libs.lean.heads import Answer
from libs.lean.messages import PREFIX_BYTES, Assembler, Compressed, Message, TooLarge, is_one
from libs.lean.method import Method
from libs.lean.status import OF_HTTP, RpcError, Status, of_reset
from libs.lean.streams import Stream

if TYPE_CHECKING:
    from libs.lean.channel import Channel

Sink: TypeAlias = "Callable[[list[bytes]], Promise[None] | None]"


class Call(Stream[Answer]):
    """What both kinds have in common: the way from a header block to a status."""

    __slots__ = (
        "_assembler",
        "_channel",
        "_is_answered",
        "due",
        "is_over",
        "is_streaming",
        "message",
        "method",
        "timeout_s",
    )

    def __init__(self, channel: Channel, method: Method, message: Message, due: float) -> None:
        self.id = 0  # until it is sent
        self.expected = -1
        self.queue = None
        self.method = method
        self.message = message
        self.due = due
        self.is_over = False
        self.is_streaming = False
        self._channel = channel
        self._assembler: Assembler | None = None
        self._is_answered = False

    def __repr__(self) -> str:
        state = "over" if self.is_over else "in flight" if self.id else "waiting to be sent"
        return f"<{type(self).__name__} {self.method.path} {state}>"

    # what subclasses add

    @abstractmethod
    def on_end(self, error: RpcError | None) -> None:
        """Hear how it ended; the connection will call `deliver` soon."""

    # its end

    def finish(self, error: RpcError | None) -> None:
        """End it, for whatever reason; the stream is gone or never was."""
        if self.is_over:
            return
        self.is_over = True
        self._channel.timers.discard(self)
        self.on_end(error)
        if self.id:
            connection = self.connection
            if self.is_streaming:
                connection.streaming -= 1
            connection.arrived.append(self)
            if not connection.awake:
                connection.wake()
        else:
            self.deliver()

    def fail(self, status: Status, text: str, *, sent: bool = True) -> None:
        """End it for a reason of ours."""
        self.finish(RpcError(status, text, sent=sent))

    def abandon(self, status: Status, text: str) -> None:
        """End it, and tell the peer that nobody listens any more."""
        if self.id:
            self.connection.reset(self.id, ErrorCode.CANCEL)
        else:
            self._channel.forget(self)
        self.fail(status, text, sent=self.id > 0)

    def expire(self) -> None:
        """Hear that the time is up."""
        if not self.is_over:
            self.abandon(
                Status.DEADLINE_EXCEEDED, f"no answer from {self._channel.address} in time"
            )

    def cancel(self) -> None:
        """End it because nobody wants it any more."""
        if not self.is_over:
            self.abandon(Status.CANCELLED, "cancelled by its caller")

    def on_reset(self, code: int) -> None:
        """End as the peer wants it."""
        self.finish(of_reset(code))

    def on_broken(self, text: str) -> None:
        """End by the peer's mistake."""
        self.fail(Status.INTERNAL, text)

    def on_lost(self, text: str) -> None:
        """End with the connection."""
        self.fail(Status.UNAVAILABLE, f"{self._channel.address}: {text}")

    # the answer

    def on_headers(self, answer: Answer, ended: bool) -> None:
        """Take a header block: the first, or trailers, or both in one."""
        if ended:
            if answer.is_good_end and self._is_answered:
                self._conclude(None)
            else:
                self._end(answer)
        elif answer.is_good_start and not self._is_answered:
            self._is_answered = True
        else:
            self._start(answer)

    def _start(self, answer: Answer) -> None:
        if answer.malformed or self._is_answered or not answer.http_status:
            self.break_off(f"a malformed answer: {answer.malformed or 'misplaced headers'}")
        elif answer.oversize:
            self.abandon(Status.RESOURCE_EXHAUSTED, "the answer has more headers than allowed")
        elif answer.http_status < 200:
            pass  # 1xx: the answer is still to come
        elif answer.http_status != 200 or not answer.is_grpc:
            error = _error_of(answer)
            self.abandon(error.status, error.message)
        else:
            self._is_answered = True
            self.expected = answer.content_length

    def _end(self, answer: Answer) -> None:
        misplaced = bool(answer.http_status) == self._is_answered or 0 < answer.http_status < 200
        if answer.malformed or misplaced:
            self.break_off(f"a malformed answer: {answer.malformed or 'misplaced headers'}")
        elif answer.oversize:
            self.abandon(Status.RESOURCE_EXHAUSTED, "the answer has more headers than allowed")
        else:
            self._conclude(None if answer.status is Status.OK else _error_of(answer))

    def _conclude(self, error: RpcError | None) -> None:
        """End as the server says, unless it left a message incomplete."""
        if error is None and self._assembler is not None and self._assembler.missing:
            error = RpcError(Status.INTERNAL, "the answer ends within a message")
        if self.queue is None:
            self.connection.forget(self)
        else:
            self.connection.reset(self.id, ErrorCode.CANCEL)  # the rest is of no use
        self.finish(error)

    def on_data(self, payload: bytes, ended: bool) -> None:
        """Take a piece of the answer."""
        if not self._is_answered:
            self.break_off("data before headers")
            return
        try:
            self.take(payload)
        except Compressed:
            self.abandon(Status.INTERNAL, "a compressed message, though nothing was offered")
        except TooLarge as error:
            self.abandon(Status.RESOURCE_EXHAUSTED, str(error))
        if ended and not self.is_over:
            self._conclude(RpcError(Status.INTERNAL, "the answer ends without a status"))

    @abstractmethod
    def take(self, payload: bytes) -> None:
        """Take a piece of a message, or several."""

    def assemble(self, payload: bytes, into: list[bytes]) -> int:
        """Append the messages that are complete; return how much the last one lacks."""
        if self._assembler is None:
            self._assembler = Assembler(self._channel.limits.max_message_bytes)
        self._assembler.feed(payload, into)
        return self._assembler.missing


def _error_of(answer: Answer) -> RpcError:
    if answer.status is not None and answer.status is not Status.OK:
        return RpcError(answer.status, answer.message, trailers=answer.trailers)
    if answer.http_status in (0, 200):
        why = "no grpc-status" if answer.is_grpc or not answer.http_status else "it is not gRPC"
        return RpcError(Status.UNKNOWN, f"an answer without meaning: {why}")
    status = OF_HTTP.get(answer.http_status, Status.UNKNOWN)
    return RpcError(status, f"HTTP status {answer.http_status}")


class UnaryCall(Call):
    """A call with one message for an answer."""

    __slots__ = ("_answer", "_error", "promise")

    def __init__(
        self, channel: Channel, method: Method, message: Message, due: float, loop: Any
    ) -> None:
        super().__init__(channel, method, message, due)
        self._answer: bytes | None = None
        self._error: RpcError | None = None
        self.promise: Promise[bytes] = Promise(loop, self.cancel)

    def take(self, payload: bytes) -> None:
        """Take the message, or a piece of it."""
        limit = self._channel.limits.max_message_bytes
        if self._answer is None and self._assembler is None and is_one(payload, limit):
            self._answer = payload[PREFIX_BYTES:]
            return
        messages = [] if self._answer is None else [self._answer]
        missing = self.assemble(payload, messages)
        if len(messages) > 1 or (messages and missing):
            self.abandon(Status.UNIMPLEMENTED, "more than one message for an answer")
        elif messages:
            self._answer = messages[0]
        elif missing:
            self.open_window(missing)

    def on_end(self, error: RpcError | None) -> None:
        """Keep how it ended."""
        if error is None and self._answer is None:
            error = RpcError(Status.UNIMPLEMENTED, "the answer has no message")
        self._error = error

    def deliver(self) -> None:
        """Give the answer, or the reason why there is none."""
        if self._error is None and self._answer is not None:
            self.promise.resolve(self._answer)
        elif self._error is not None:
            self.promise.fail(self._error)


class ClientStream(Call):
    """A call with many messages for an answer. `due` may be moved at any time."""

    __slots__ = (
        "_error",
        "_is_ready",
        "_loop",
        "_messages",
        "_over",
        "_owed",
        "_reader",
        "_room",
        "_sink",
    )

    def __init__(
        self, channel: Channel, method: Method, message: Message, due: float, loop: Any
    ) -> None:
        super().__init__(channel, method, message, due)
        self.is_streaming = True
        self._loop = loop
        self._messages: list[bytes] = []
        self._error: RpcError | None = None
        self._reader: Promise[list[bytes]] | None = None
        self._sink: Sink | None = None  # in place of a reader
        self._over: Promise[None] | None = None  # for who has given the sink
        self._room: Promise[None] | None = None  # which the sink wants to be waited for
        self._is_ready = False  # `deliver` is going to be called
        self._owed = 0  # bytes handed out and not yet given back to the window; < 0: lent

    def read(self) -> Promise[list[bytes]]:
        """Return all messages since the last read, at least one; none at the end.

        What went before an error comes before the error. Who cancels a read cancels the call.
        """
        promise: Promise[list[bytes]] = Promise(self._loop)
        if self._reader is not None or self._sink is not None:
            raise RuntimeError("this stream is being read")
        if self._messages or self.is_over:
            self._give(promise)
        else:
            promise.on_cancel = self._cancel_read
            self._reader = promise
        return promise

    def forward(self, sink: Sink) -> Promise[None]:
        """Call `sink` with all messages that come together; the promise is of the end.

        Where the sink returns a promise, that is waited for before the next call. What it raises
        cancels the call, and is raised by the promise; who cancels that cancels the call, too.
        """
        if self._reader is not None or self._sink is not None:
            raise RuntimeError("this stream is being read")
        self._over = over = Promise[None](self._loop, self.cancel)
        self._sink = sink
        self._push()
        return over

    def resume(self) -> None:
        """Hear that there is room for more."""
        self._room = None
        self._push()

    def _push(self) -> None:
        """Give the sink what is there, until it has no room or has had all."""
        over, sink = self._over, self._sink
        if over is None or sink is None:
            return
        while self._messages and self._room is None and not over.done:
            try:
                room = sink(self._taken())
            except BaseException as error:  # noqa: BLE001 - it is raised where the end is awaited
                over.fail(error)
                self.cancel()
                break
            if room is not None and not room.done:
                self._room = room
                room.waiter = self
        if self.is_over and self._room is None:
            self._sink = None  # who gave it mostly holds us
            if self._error is None:
                over.resolve(None)
            else:
                over.fail(self._error)

    def _cancel_read(self) -> None:
        self._reader = None
        self.cancel()

    def deliver(self) -> None:
        """Give who reads what is there."""
        self._is_ready = False
        if self._sink is not None:
            self._push()
            return
        reader = self._reader
        if reader is not None and (self._messages or self.is_over):
            self._reader = None
            self._give(reader)

    def _give(self, reader: Promise[list[bytes]]) -> None:
        if self._messages or self._error is None:
            reader.resolve(self._taken())
        else:
            reader.fail(self._error)

    def _taken(self) -> list[bytes]:
        """Hand out what is there."""
        messages, self._messages = self._messages, []
        if not self.is_over:
            size = PREFIX_BYTES * len(messages)
            for each in messages:
                size += len(each)
            self._owed += size
            self._give_back()
        return messages

    def _give_back(self) -> None:
        """Let the server send in place of what was read, and the rest of what it has begun."""
        missing = self._assembler.missing if self._assembler is not None else 0
        if self._owed * 2 >= self._channel.limits.stream_window:
            owed, self._owed = self._owed, 0
            self.give_back(owed)
        if missing > self.window:
            self._owed -= missing - self.window
            self.open_window(missing)

    def take(self, payload: bytes) -> None:
        """Take messages, and pieces of them."""
        assembler, limit = self._assembler, self._channel.limits.max_message_bytes
        if (assembler is None or not assembler.missing) and is_one(payload, limit):
            self._messages.append(payload[PREFIX_BYTES:])
            missing = 0
        else:
            missing = self.assemble(payload, self._messages)
        if self._messages:
            if not self._is_ready and (self._sink is not None or self._reader is not None):
                self._is_ready = True
                self.connection.arrived.append(self)
        elif missing > self.window:
            self._give_back()

    def on_padding(self, size: int) -> None:
        """Owe the padding at once."""
        self._owed += size
        self._give_back()

    def on_end(self, error: RpcError | None) -> None:
        """Keep how it ended."""
        self._error = error
