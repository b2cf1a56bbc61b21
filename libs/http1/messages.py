"""What travels between a connection and its handlers: requests, and why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from libs.http1.responder import Responder

Headers = Sequence[tuple[str, str]]
Answer = tuple[int, Headers, bytes]
Handler = Callable[["Request", "Responder"], None]


class Request:
    """A whole request. Header names are in lower case, repeated ones joined by a comma.

    Text is UTF-8 with surrogate escapes for what is none. `path` is percent-decoded, an
    escape that is no UTF-8 stays as it is; `target` is what the client sent. `peer` is the
    address at the other end of the connection, empty where there is none.
    """

    __slots__ = ("body", "headers", "method", "path", "peer", "query", "target")

    def __init__(
        self,
        method: str,
        target: str,
        path: str,
        query: str,
        headers: dict[str, str],
        body: bytes,
        peer: str = "",
    ) -> None:
        self.method = method
        self.target = target
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.peer = peer

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path} {len(self.body)} bytes>"


class Refusal(Exception):
    """Why bytes never became a request: the status, a word for it, and a sentence."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message

    def __repr__(self) -> str:
        return f"<Refusal {self.status} {self.reason}: {self.message}>"


def bad_request(message: str) -> Refusal:
    """Return the refusal of what is no HTTP, or could be read in two ways."""
    return Refusal(400, "bad_request", message)
