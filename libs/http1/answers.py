"""Answer heads as bytes; what repeats is written once."""

from __future__ import annotations

import re
from email.utils import formatdate
from http import HTTPStatus
from time import time
from typing import Final

from libs.http1.messages import Headers

CLOSE = b"Connection: close\r\n"
KEEP = b"Connection: keep-alive\r\n"  # said to HTTP/1.0, which closes otherwise
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OURS: Final = frozenset({"connection", "content-length", "date", "transfer-encoding", "upgrade"})
MOST_NAMES: Final = 64
MOST_VALUES: Final = (
    32  # kept of each name: an id that is never the same again is not worth keeping
)
LONGEST_KEPT: Final = 128
_BODILESS: Final = (204, 304)
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class AnswerHeads:
    """Writes heads. Raises ValueError for what would be read as something else."""

    def __init__(self) -> None:
        self._second = 0
        self._beginnings: dict[int, bytes] = {}  # status line and date, of this second
        self._lines: dict[tuple[str, str], bytes] = {}
        self._names: dict[str, int] = {}  # that are fine, and how many lines are kept of each

    def __repr__(self) -> str:
        return f"<AnswerHeads {len(self._lines)} lines kept>"

    def whole(self, status: int, headers: Headers, connection: bytes, body: bytes) -> bytes:
        """Return a whole answer; `connection` is a header line or empty."""
        head = self._head(status, headers) + connection  # adding is faster than formatting
        if status in _BODILESS:
            if body:
                raise ValueError(f"an answer of status {status} has no body")
            return head + b"\r\n"
        length = str(len(body)).encode()  # which is faster than formatting bytes
        return head + b"Content-Length: " + length + b"\r\n\r\n" + body

    def stream(self, status: int, headers: Headers, connection: bytes, *, chunked: bool) -> bytes:
        """Return the head of an answer whose length is not known."""
        if status in _BODILESS:
            raise ValueError(f"an answer of status {status} has no body")
        end = b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n"
        return self._head(status, headers) + connection + end

    def _head(self, status: int, headers: Headers) -> bytes:
        now = int(time())
        if now != self._second:
            self._second = now
            self._beginnings.clear()
        head = self._beginnings.get(status) or self._beginning(status)
        lines = self._lines
        for header in headers:
            head += lines.get(header) or self._line(header)
        return head

    def _beginning(self, status: int) -> bytes:
        if not 200 <= status <= 599:
            raise ValueError(f"no status of an answer: {status}")
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = ""
        date = formatdate(self._second, usegmt=True)
        made = f"HTTP/1.1 {status} {phrase}\r\nDate: {date}\r\n".encode()
        self._beginnings[status] = made
        return made

    def _line(self, header: tuple[str, str]) -> bytes:
        name, value = header
        if name not in self._names:
            self._check_name(name)
        if not value.isprintable() and _FORBIDDEN.search(value):
            raise ValueError(f"no value of a header: {value!r}")
        line = f"{name}: {value}\r\n".encode("utf-8", "surrogateescape")
        if self._names[name] < MOST_VALUES and len(line) <= LONGEST_KEPT:
            self._names[name] += 1
            self._lines[header] = line
        return line

    def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name) or name.lower() in OURS:
            raise ValueError(f"no header of an answer: {name!r}")
        if len(self._names) >= MOST_NAMES:
            self._names.clear()
            self._lines.clear()
        self._names[name] = 0
