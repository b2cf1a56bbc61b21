"""Bodies that come in pieces: of a told size, or in chunks.

Both have `feed(data, at)`, which returns where the body ended, or -1 while it goes on, and
`whole()`. They hold what came and nothing else, so a body never costs more than its limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from libs.http1.heads import RequestLine
from libs.http1.messages import Handler, Refusal, bad_request

LONGEST_LINE: Final = 1024  # a chunk's size and its extensions
MOST_EXTENSIONS: Final = 16 * 1024  # bytes of them in a whole body
FREE_CHUNKS: Final = 4096  # and then one per 16 bytes: each costs about a microsecond
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb"\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*\""
_EXTENSION = rb";" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?"
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})((?:" + _EXTENSION + rb")*)\r\n")
_SIZE_BEGUN: Final = re.compile(rb"[0-9A-Fa-f]{1,16}(?:;[\t -~\x80-\xff]*)?\r?\Z")


def too_large(limit: int) -> Refusal:
    """Return the refusal of a body above the limit."""
    return Refusal(413, "too_large", f"the body is larger than {limit} bytes")


class SizedBody:
    """A body whose Content-Length is known."""

    __slots__ = ("_came", "_length")

    def __init__(self, length: int) -> None:
        self._length = length
        self._came = bytearray()

    def __repr__(self) -> str:
        return f"<SizedBody {len(self._came)}/{self._length}>"

    def feed(self, data: bytes, at: int) -> int:
        """Take what belongs to the body."""
        end = at + self._length - len(self._came)
        self._came += data[at:end] if at or end < len(data) else data
        return end if end <= len(data) else -1

    def whole(self) -> bytes:
        """Return what came."""
        return bytes(self._came)


class ChunkedBody:
    """A body in chunks; extensions and trailers are read over, within bounds."""

    __slots__ = (
        "_came",
        "_check_trailer",
        "_chunks",
        "_extensions",
        "_left",
        "_limit",
        "_partial",
        "_step",
        "_trailers_left",
    )

    def __init__(
        self, *, limit: int, trailers: int, check_trailer: Callable[[bytes], None]
    ) -> None:
        self._limit = limit
        self._trailers_left = trailers
        self._check_trailer = check_trailer
        self._came = bytearray()
        self._partial = b""  # what came of a line, or of the end of a chunk
        self._left = 0  # bytes of the chunk that is coming
        self._chunks = 0
        self._extensions = 0
        self._step: Callable[[ChunkedBody, bytes, int], int] | None = ChunkedBody._size

    def __repr__(self) -> str:
        return f"<ChunkedBody {len(self._came)} bytes in {self._chunks} chunks>"

    def feed(self, data: bytes, at: int) -> int:
        """Take what belongs to the body. Raises Refusal."""
        shift = 0
        if self._partial:
            shift = len(self._partial) - at
            data, at, self._partial = self._partial + data[at:], 0, b""
        while self._step is not None:
            after = self._step(self, data, at)
            if after < 0:
                self._partial = data[at:]
                return -1
            at = after
        return at - shift

    def whole(self) -> bytes:
        """Return what came."""
        return bytes(self._came)

    def _size(self, data: bytes, at: int) -> int:
        line = _SIZE_LINE.match(data, at)
        if not line:
            if at == len(data) or (len(data) - at <= LONGEST_LINE and _SIZE_BEGUN.match(data, at)):
                return -1
            raise bad_request("a malformed chunk")
        self._left = int(line[1], 16)
        self._count(len(line[2]))
        self._step = ChunkedBody._data if self._left else ChunkedBody._trailer
        return line.end()

    def _count(self, extension: int) -> None:
        came = len(self._came)
        if came + self._left > self._limit:
            raise too_large(self._limit)
        self._chunks += 1
        self._extensions += extension
        if self._chunks > FREE_CHUNKS + came // 16 or self._extensions > MOST_EXTENSIONS:
            raise bad_request("more chunking than body")

    def _data(self, data: bytes, at: int) -> int:
        end = min(at + self._left, len(data))
        self._came += data[at:end]
        self._left -= end - at
        if self._left:
            return -1 if at == end else end
        self._step = ChunkedBody._data_end
        return end

    def _data_end(self, data: bytes, at: int) -> int:
        end = data[at : at + 2]
        if end == b"\r\n":
            self._step = ChunkedBody._size
            return at + 2
        if end and end != b"\r":
            raise bad_request("a malformed chunk")
        return -1

    def _trailer(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at)
        if end - at > self._trailers_left or (end < 0 and len(data) - at > self._trailers_left):
            raise Refusal(431, "headers_too_large", "the trailers are too large")
        if end < 0:
            return -1
        if end == at:
            self._step = None
        else:
            self._check_trailer(data[at:end])
            self._trailers_left -= end + 2 - at
        return end + 2


class Incoming:
    """A request whose body is on its way."""

    __slots__ = ("body", "handler", "headers", "line")

    def __init__(
        self,
        handler: Handler,
        line: RequestLine,
        headers: dict[str, str],
        body: SizedBody | ChunkedBody,
    ) -> None:
        self.handler = handler
        self.line = line
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"<Incoming {self.line.method} {self.line.path} {self.body!r}>"
