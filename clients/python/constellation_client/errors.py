"""Everything that can go wrong with a call: one class for each kind, with what the server said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

import grpc

TOO_LARGE, DEADLINE = 3006, 3007
REQUEST_ID = "x-constellation-request-id"  # in the initial metadata, and in the trailers
NEVER_SENT = ("failed to connect", "Connection refused", "connections to all backends failing")


class ConstellationError(Exception):
    """A call failed. `code` and `reason` are those of the table of errors, 0 and "" if none."""

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        reason: str = "",
        retry_after: float | None = None,
        pointer: str = "",
        request_id: str = "",
        was_sent: bool = True,
    ) -> None:
        """Take what the server told; `was_sent`: the model may have seen the request.

        `request_id` is the server's id of it, or else the caller's own.
        """
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after  # seconds; None: not a matter of seconds
        self.pointer = pointer  # JSON pointer of the bad field
        self.request_id = request_id
        self.was_sent = was_sent

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} ({self.reason}, {self.code})" if self.code else text


class AuthenticationError(ConstellationError):
    """No token, or an unknown or expired one."""


class PermissionDenied(ConstellationError):
    """The token is another account's, or the account may not do this."""


class InvalidRequest(ConstellationError):
    """The request is wrong and must be changed; `pointer` names the field."""


class Conflict(ConstellationError):
    """The idempotency key belongs to another request."""


class Busy(ConstellationError):
    """No capacity, or a limit is reached; `retry_after` says when to try again."""


class DeadlineExceeded(ConstellationError):
    """One of the time bounds has passed; the model may have run."""


class Cancelled(ConstellationError):
    """The call was cancelled."""


class Unavailable(ConstellationError):
    """Nobody could be reached, or who ran the call was lost."""


class InternalError(ConstellationError):
    """The model failed, or the platform did."""


CLASSES: Mapping[grpc.StatusCode, type[ConstellationError]] = {
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: InvalidRequest,
    grpc.StatusCode.UNIMPLEMENTED: InvalidRequest,
    grpc.StatusCode.ALREADY_EXISTS: Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequest,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Busy,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
}
REFUSALS = (  # of which the server says so where a model has seen the request
    AuthenticationError,
    PermissionDenied,
    InvalidRequest,
    Conflict,
    Busy,
    Unavailable,
)


def error_of(error: Any, request_id: str = "") -> ConstellationError:
    """Return what a failed call of gRPC, sync or async, means."""
    status: grpc.StatusCode = error.code()
    trailers = texts(error.trailing_metadata())
    code = int(trailers.get("code", "0"))
    kind = CLASSES.get(status, InternalError)
    if kind is Busy and code in (0, TOO_LARGE):  # without a code it is gRPC's own limit
        kind = InvalidRequest
    reason = trailers.get("reason", "")
    details: str = error.details() or status.name
    if kind is DeadlineExceeded and not code:  # the client's own clock was first
        code, reason = DEADLINE, "deadline_exceeded"
        details = "no answer in time: the timeout of the call has passed"
    after_ms = int(trailers.get("retry-after-ms", "0"))
    return kind(
        details,
        code=code,
        reason=reason,
        retry_after=after_ms / 1000 if after_ms else None,
        pointer=unquote(trailers.get("pointer", "")),
        request_id=_request_id(error, trailers) or request_id,
        was_sent=_was_sent(kind, code, trailers, details),
    )


def _request_id(error: Any, trailers: Mapping[str, str]) -> str:
    """Return it, from the trailers where the status hid what came first."""
    return texts(error.initial_metadata()).get(REQUEST_ID) or trailers.get(REQUEST_ID, "")


def _was_sent(
    kind: type[ConstellationError], code: int, trailers: Mapping[str, str], details: str
) -> bool:
    """Whether the model may have seen the request."""
    if code:
        return kind not in REFUSALS or trailers.get("sent") == "1"
    return not (kind is Unavailable and any(words in details for words in NEVER_SENT))


def texts(metadata: Iterable[Any] | None) -> dict[str, str]:
    """Return metadata's texts by name."""
    return {key: value for key, value in metadata or () if isinstance(value, str)}
