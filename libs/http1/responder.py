"""The answer to one request, given at once or in parts, now or later."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from libs.eager import Promise
from libs.http1.messages import Headers

if TYPE_CHECKING:
    from libs.http1.connection import Connection

_SIZES: Final = tuple([b"%x\r\n" % size for size in range(2048)])  # of the chunks of a token


class Responder:
    """Answers with `answer`, or with `begin`, `write` ..., `end`.

    Once the answer is complete or the client is gone, everything here does nothing.
    `on_gone` is called at most once, when the client leaves before the answer is complete.
    """

    __slots__ = ("_begun", "_chunked", "_connection", "is_gone", "on_gone")

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection
        self._begun = False
        self.is_gone = False
        self.on_gone: Callable[[], object] | None = None

    def __repr__(self) -> str:
        if self._connection is None:
            return f"<Responder {'gone' if self.is_gone else 'complete'}>"
        return f"<Responder {'streaming' if self._begun else 'waiting'}>"

    @property
    def has_begun(self) -> bool:
        """Whether a head was sent, so that the status cannot change any more."""
        return self._begun

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer. Raises ValueError for headers that are none."""
        connection = self._connection
        if connection is None:
            return
        if self._begun:
            raise RuntimeError("the answer has begun")
        data = connection.heads.whole(status, headers, connection.persistence(), body)
        self._connection = self.on_gone = None
        connection.finish(data)

    def begin(self, status: int, headers: Headers) -> None:
        """Send the head of a stream. Raises ValueError for headers that are none."""
        connection = self._connection
        if connection is None:
            return
        if self._begun:
            raise RuntimeError("the answer has begun")
        self._chunked = connection.speaks_chunked
        line = connection.persistence(streaming=True)
        head = connection.heads.stream(status, headers, line, chunked=self._chunked)
        self._begun = True
        connection.send(head)

    def write(self, data: bytes) -> Promise[None] | None:
        """Send a part; a promise if it is better to wait before the next one."""
        connection = self._connection
        if connection is None or not data:
            return None
        if not self._begun:
            raise RuntimeError("the answer has not begun")
        return connection.send(_chunk(data) if self._chunked else data)

    def end(self) -> None:
        """Say that the stream is whole."""
        connection = self._connection
        if connection is None:
            return
        if not self._begun:
            raise RuntimeError("the answer has not begun")
        self._connection = self.on_gone = None
        connection.finish(b"0\r\n\r\n" if self._chunked else b"")

    def abort(self) -> None:
        """Drop the connection, now; the client sees that the answer is cut short."""
        connection = self._connection
        if connection is not None:
            self._connection = self.on_gone = None
            self.is_gone = True
            connection.drop()

    def leave(self) -> Callable[[], object] | None:
        """Hear from the connection that the client is gone; return who is to be told."""
        told, self.on_gone = self.on_gone, None
        self._connection = None
        self.is_gone = True
        return told


def _chunk(data: bytes) -> bytes:
    size = len(data)
    head = _SIZES[size] if size < len(_SIZES) else b"%x\r\n" % size
    return b"".join((head, data, b"\r\n"))  # copied once, where adding copies twice
