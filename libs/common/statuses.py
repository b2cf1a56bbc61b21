"""Errors as they travel over gRPC: a status, a message, and trailers that say the rest.

The trailers are `code`, `reason`, `retryable`, `retry-after-ms`, `sent`, `pointer`, and from a
server `free-permits`, `queue-length` and `recorded`; the reason names the error's class again on
the other side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, unquote

from libs.common.errors import (
    BY_REASON,
    Aborted,
    DeadlineExceeded,
    Internal,
    RequestError,
    TooLarge,
    Unavailable,
)

LONGEST_MESSAGE: Final = 1000  # an error's text is a header, and headers are bounded at 8 KiB
WITHOUT_TRAILERS: Final[Mapping[str, type[RequestError]]] = {
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "CANCELLED": Aborted,
    "RESOURCE_EXHAUSTED": TooLarge,
}


def message_of(error: RequestError) -> str:
    """Return the text that travels."""
    return str(error)[:LONGEST_MESSAGE]


def trailers_of(error: RequestError) -> tuple[tuple[str, str], ...]:
    """Return what is told beside status and message."""
    trailers = [("code", str(error.code)), ("reason", error.reason)]
    trailers += [("retryable", "1")] if error.retryable else []
    trailers += [("retry-after-ms", str(error.retry_after_ms))] if error.retry_after_ms else []
    trailers += [("sent", "1")] if error.sent else []
    # quoted: a header's value is printable ASCII, a field's name may be anything
    trailers += [("pointer", quote(error.pointer)[:LONGEST_MESSAGE])] if error.pointer else []
    if error.free_permits is not None:
        trailers.append(("free-permits", str(error.free_permits)))
        trailers.append(("queue-length", str(error.queue_length)))
    trailers += [("recorded", "1")] if error.recorded else []
    return tuple(trailers)


def error_from(status: str, message: str, trailers: Mapping[str, str]) -> RequestError:
    """Return the error that the other side raised, or what its loss means."""
    known = _class_of(trailers.get("reason", ""))
    if known is None:
        return WITHOUT_TRAILERS.get(status, Internal)(message)
    error = known(
        message,
        retry_after_ms=int(trailers.get("retry-after-ms", "0")),
        pointer=unquote(trailers.get("pointer", "")),
        sent=trailers.get("sent", "") == "1",
    )
    if "free-permits" in trailers:
        error.free_permits = int(trailers["free-permits"])
        error.queue_length = int(trailers.get("queue-length", "0"))
    error.recorded = trailers.get("recorded", "") == "1"
    return error


def _class_of(reason: str) -> type[RequestError] | None:
    """Return the class with this reason; some stand outside of `errors`."""
    every = _subclasses(RequestError)
    return BY_REASON.get(reason) or next((cls for cls in every if cls.reason == reason), None)


def _subclasses(cls: type[RequestError]) -> Iterator[type[RequestError]]:
    for each in cls.__subclasses__():
        yield each
        yield from _subclasses(each)
