"""Request heads, read by the strict grammar of RFC 9112, so that nobody reads them otherwise.

A proxy in front of us and aiohttp behind us read the same bytes. Whatever one of them might
take for a different request (folded lines, bare LF, two lengths) is refused here, for all
routes. Lines come again and again, thus the reading of each is kept for a while.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from libs.http1.messages import Refusal, bad_request
from libs.http1.targets import decoded_path, split_target

CHUNKED: Final = -1
MOST_KEPT: Final = 2048  # request lines, and header lines
MOST_VALUES: Final = 128  # of these, with the same name
LONGEST_KEPT: Final = 256
LONGEST_HEAD: Final = 2048
FORGET_AFTER: Final = (
    100_000  # lines that were not kept; then begin anew, which is cheaper than to choose
)
ONLY_ONCE: Final = ("host", "content-length", "transfer-encoding")
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_NAME: Final = re.compile(_TOKEN)
_REQUEST_LINE: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!-\"$-~]+) HTTP/([0-9])\.([0-9])"
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_HOST: Final = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+;=\x80-\uffff]*)(?::[0-9]*)?"
)
_FIRST_BYTES: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}(?: |\Z)")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


class RequestLine(NamedTuple):
    """What the first line says; `old` is HTTP/1.0, `routable` what a hot route may answer."""

    method: str
    target: str
    path: str
    query: str
    old: bool
    routable: bool


# What a head says: its first line, its headers, how many bytes of body follow (or CHUNKED).
Read: TypeAlias = tuple[RequestLine, dict[str, str], int]


class HeaderLines(dict[bytes, tuple[str, str]]):
    """Name and value of header lines, read when they are looked up first.

    A header whose values are many (an id, a length) is kept for the first of them only: values
    that never come again would cost more to keep than to read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[bytes, str] = {}
        self._values: dict[str, int] = {}  # kept of each name
        self._missed = 0

    def __missing__(self, line: bytes) -> tuple[str, str]:
        """Read a line. Raises Refusal."""
        raw_name, colon, raw_value = line.partition(b":")
        name = self._names.get(raw_name) or self._name(raw_name)
        value = raw_value.decode("utf-8", "surrogateescape").strip(" \t")
        if not colon or (not value.isprintable() and _CONTROL.search(value)):
            raise bad_request("a malformed header line")
        if name in _CHECKS:
            _CHECKS[name](value)
        read = name, value
        self._keep(line, read)
        return read

    def _name(self, raw: bytes) -> str:
        if not _NAME.fullmatch(raw):  # a folded line and a space before the colon end here, too
            raise bad_request("a malformed header line")
        name = sys.intern(raw.decode().lower())
        if len(raw) <= LONGEST_KEPT and len(self._names) < MOST_KEPT:
            self._names[raw] = name
        return name

    def _keep(self, line: bytes, read: tuple[str, str]) -> None:
        self._missed += 1
        if self._missed >= FORGET_AFTER:  # clients come and go, and with them what they say
            self._missed = 0
            self._names.clear()
            self._values.clear()
            self.clear()
        values = self._values.get(read[0], 0)
        if values < MOST_VALUES and len(self) < MOST_KEPT and len(line) <= LONGEST_KEPT:
            self._values[read[0]] = values + 1
            self[line] = read


class HeadReader:
    """Reads heads, and remembers their lines."""

    def __init__(self, *, max_bytes: int, max_headers: int) -> None:
        self._max_bytes = max_bytes
        self._max_headers = max_headers
        self._first_lines: dict[bytes, RequestLine] = {}
        self._lines = HeaderLines()
        self._heads: dict[bytes, Read] = {}  # that have come twice, as a client's do
        self._once: set[int] = set()  # hashes of those that have come once

    def __repr__(self) -> str:
        kept = (len(self._heads), len(self._first_lines), len(self._lines))
        return "<HeadReader {} heads, {} + {} lines kept>".format(*kept)

    def read(self, head: bytes) -> Read | None:
        """Read what stands before the empty line; None for an empty line before the request.

        The headers are not to be changed: others may get the same. Raises Refusal.
        """
        known = self._heads.get(head)
        if known is not None:
            return known
        read = self._read(head)
        if read is not None and len(head) <= LONGEST_HEAD:
            self._remember(head, read)
        return read

    def _remember(self, head: bytes, read: Read) -> None:
        number = hash(head)
        if number in self._once:
            if len(self._heads) >= MOST_KEPT:
                self._heads.clear()
            self._heads[head] = read
        else:
            if len(self._once) >= MOST_KEPT:
                self._once.clear()
            self._once.add(number)

    def _read(self, head: bytes) -> Read | None:
        if len(head) > self._max_bytes:
            raise head_too_large(self._max_bytes)
        lines = head.split(b"\r\n")
        first_line = lines.pop(0)
        first = self._first_lines.get(first_line)
        if first is None:
            if not first_line:
                return None
            first = self._first_line(first_line)
        if len(lines) > self._max_headers:
            raise Refusal(431, "too_many_headers", f"more than {self._max_headers} headers")
        headers = dict(map(self._lines.__getitem__, lines))
        if len(headers) != len(lines):
            headers = self._joined(lines)
        if "host" not in headers and not first.old:
            raise bad_request("the Host header is missing")
        if "transfer-encoding" in headers:
            _check_chunked(headers, old=first.old)
            return first, headers, CHUNKED
        return first, headers, int(headers.get("content-length", 0))

    def check_trailer(self, line: bytes) -> None:
        """Refuse what is no trailer; nothing is kept."""
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or _CONTROL.search(value.decode("latin-1")):
            raise bad_request("a malformed header line")
        if name.lower().decode() in ONLY_ONCE:
            raise bad_request("a trailer that would change how the body is read")

    def _first_line(self, line: bytes) -> RequestLine:
        found = _REQUEST_LINE.fullmatch(line)
        if not found:
            raise bad_request("a malformed request line")
        method, target, major, minor = found.groups()
        if major != b"1" or minor not in b"01":
            raise Refusal(505, "version", "HTTP/1.1 and HTTP/1.0 are spoken here")
        if method == b"CONNECT":
            raise Refusal(501, "not_implemented", "CONNECT is not implemented")
        text, name = target.decode(), method.decode()
        path, query = split_target(text, name)
        routable = name not in ("HEAD", "OPTIONS")
        read = RequestLine(name, text, decoded_path(path), query, minor == b"0", routable)
        if len(line) <= LONGEST_KEPT:
            if len(self._first_lines) >= MOST_KEPT:
                self._first_lines.clear()
            self._first_lines[line] = read
        return read

    def _joined(self, lines: list[bytes]) -> dict[str, str]:
        headers: dict[str, str] = {}
        for name, value in map(self._lines.__getitem__, lines):
            if name not in headers:
                headers[name] = value
            elif name in ONLY_ONCE:
                raise bad_request(f"more than one {name} header")
            else:
                headers[name] = f"{headers[name]}, {value}"
        return headers


def head_too_large(limit: int) -> Refusal:
    """Return the refusal of a head above the limit."""
    return Refusal(431, "headers_too_large", f"the headers are larger than {limit} bytes")


def stays_open(connection: str | None, *, old: bool) -> bool:
    """Whether the client means to send another request on this connection."""
    if connection is None:
        return not old
    words = {word.strip(" \t").lower() for word in connection.split(",")}
    return "close" not in words and (not old or "keep-alive" in words)


def check_beginning(data: bytes | bytearray, since: int) -> None:
    """Refuse what cannot become a head, without waiting for its end; new from `since` on."""
    if not _FIRST_BYTES.match(data):
        raise bad_request("a malformed request line")
    if _BARE_LF.search(data, since):
        raise bad_request("a line that ends without CR")


def _check_length(value: str) -> None:
    if not _LENGTH.fullmatch(value):
        raise bad_request("Content-Length is not a number")


def _check_coding(value: str) -> None:
    if value.lower() != "chunked":
        raise bad_request("a Transfer-Encoding other than chunked")


def _check_chunked(headers: dict[str, str], *, old: bool) -> None:
    if "content-length" in headers:
        raise bad_request("both Content-Length and Transfer-Encoding")
    if old:
        raise bad_request("Transfer-Encoding in HTTP/1.0")


def _check_host(value: str) -> None:
    if not _HOST.fullmatch(value):
        raise bad_request("a malformed Host header")


_CHECKS: Final[dict[str, Callable[[str], None]]] = {
    "content-length": _check_length,
    "transfer-encoding": _check_coding,
    "host": _check_host,
}
