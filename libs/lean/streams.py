"""What all streams have: a number, windows both ways, and what waits to be sent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, TypeVar

from libs.lean import frames
from libs.lean.frames import ErrorCode

if TYPE_CHECKING:
    from libs.lean.connection import Connection

P = TypeVar("P")


class SendQueue:
    """Chunks that wait for a window to open or a buffer to empty, and what ends them."""

    __slots__ = ("_chunks", "end_stream", "last", "size")

    def __init__(self) -> None:
        self._chunks: deque[bytes | memoryview] = deque()
        self.size = 0
        self.end_stream = False  # on the last frame
        self.last = b""  # a frame to follow

    def __repr__(self) -> str:
        return f"<SendQueue {self.size} bytes>"

    def add(self, chunks: Iterable[bytes], size: int) -> None:
        """Put chunks, `size` bytes altogether, behind those that are there."""
        self._chunks.extend(chunks)
        self.size += size

    def take(self, most: int) -> list[bytes | memoryview]:
        """Take that many bytes, or all, without copying them."""
        taken: list[bytes | memoryview] = []
        left = most = min(most, self.size)
        chunks = self._chunks
        while left:
            chunk = chunks.popleft()
            if len(chunk) > left:
                view = memoryview(chunk)
                chunks.appendleft(view[left:])
                chunk = view[:left]
            taken.append(chunk)
            left -= len(chunk)
        self.size -= most
        return taken


class Stream(ABC, Generic[P]):
    """One call's half of a connection; P is what its header blocks are read as.

    It is in `connection.streams` until both sides have ended it, or one has reset it.
    """

    __slots__ = ("connection", "expected", "id", "queue", "send_window", "window")

    connection: Connection[P]
    id: int
    send_window: int
    window: int  # what the peer may still send
    queue: SendQueue | None
    expected: int  # what a content-length says is still to come, or -1

    @abstractmethod
    def on_headers(self, parsed: P, ended: bool) -> None:
        """Take a header block."""

    @abstractmethod
    def on_data(self, payload: bytes, ended: bool) -> None:
        """Take data."""

    @abstractmethod
    def deliver(self) -> None:
        """Give what has arrived to who waits; it was put into `connection.arrived`."""

    @abstractmethod
    def on_reset(self, code: int) -> None:
        """Hear that the peer has reset the stream; it is forgotten already."""

    @abstractmethod
    def on_broken(self, text: str) -> None:
        """Hear that the peer broke a rule, and the stream was reset for it."""

    @abstractmethod
    def on_lost(self, text: str) -> None:
        """Hear that the connection is gone."""

    def on_sent(self) -> None:
        """Hear that all that had waited is sent, the end included."""

    def on_room(self) -> None:
        """Hear that less waits than before."""

    def on_padding(self, size: int) -> None:
        """Hear that so much of the window went into padding."""
        initial = self.connection.initial_window
        if self.window < initial // 2:
            self.open_window(initial)

    def open_window(self, missing: int) -> None:
        """Let the peer send that much, at least."""
        extra = missing - self.window
        if extra > 0:
            self.give_back(extra)

    def give_back(self, size: int) -> None:
        """Let the peer send so much more."""
        self.window += size
        self.connection.write(frames.window_update(self.id, size))

    def expect(self, payload: bytes, ended: bool) -> bool:
        """Hold data against the content-length; whether they agree."""
        self.expected -= len(payload)
        return self.expected == 0 if ended else self.expected >= 0

    def break_off(self, text: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        """Reset the stream because the peer broke a rule."""
        self.connection.refuse(self.id, code)
        self.on_broken(text)
