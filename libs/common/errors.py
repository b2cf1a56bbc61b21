"""Everything that can go wrong with a request, one class per reason.

Each class names its public code, its gRPC status, its HTTP status and whether
another server may succeed. Fronts read them from here and decide nothing.
"""

from __future__ import annotations

from typing import ClassVar


class RequestError(Exception):
    """A request failed for a reason that the caller may be told."""

    code: ClassVar[int] = 3044
    status: ClassVar[str] = "INTERNAL"
    http: ClassVar[int] = 500
    reason: ClassVar[str] = "failed"
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, retry_after_ms: int = 0, pointer: str = "", sent: bool = False
    ) -> None:
        """`pointer` is the JSON pointer of a bad field; `sent`: the model may have seen it."""
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
        self.pointer = pointer
        self.sent = sent
        # What the server adds that answers with it:
        self.free_permits: int | None = None  # of the shard, where it is known, and
        self.queue_length = 0
        self.recorded = False  # an event tells of it already


class ModelFailed(RequestError):
    """The model answered with an error of its own."""

    reason = "model_failed"


class Internal(RequestError):
    """A bug of ours; the message tells no details."""

    code = 3046
    reason = "internal"


class Unauthenticated(RequestError):
    """No token, or one that nobody has."""

    code, status, http, reason = 10000, "UNAUTHENTICATED", 401, "unauthenticated"


class WrongAccount(RequestError):
    """The token belongs to another account."""

    code, status, http, reason = 10001, "PERMISSION_DENIED", 403, "wrong_account"


class AccountBlocked(RequestError):
    """The account may not run anything."""

    code, status, http, reason = 3023, "PERMISSION_DENIED", 403, "account_blocked"


class ModelNotAllowed(RequestError):
    """The model is private, and not for this account."""

    code, status, http, reason = 5018, "PERMISSION_DENIED", 403, "model_not_allowed"


class UnknownModel(RequestError):
    """The catalog has no such model."""

    code, status, http, reason = 5007, "INVALID_ARGUMENT", 400, "unknown_model"


class UnknownRoute(RequestError):
    """The address names nothing that is here."""

    code, status, http, reason = 7000, "NOT_FOUND", 404, "unknown_route"


class WrongMethod(RequestError):
    """The address is right, the HTTP method is not."""

    code, status, http, reason = 7002, "UNIMPLEMENTED", 405, "wrong_method"


class BadHttp(RequestError):
    """The bytes are no HTTP that is taken here, or could be read in two ways."""

    code, status, http, reason = 7003, "INVALID_ARGUMENT", 400, "bad_http"


class BadInput(RequestError):
    """The input does not fit the task's schema; `pointer` names the field."""

    code, status, http, reason = 5006, "INVALID_ARGUMENT", 400, "bad_input"


class ModelRefused(RequestError):
    """The model refused the input."""

    code, status, http, reason = 3003, "INVALID_ARGUMENT", 400, "model_refused"


class LoraUnsupported(RequestError):
    """The model takes no adapters."""

    code, status, http, reason = 5005, "INVALID_ARGUMENT", 405, "lora_unsupported"


class TooLarge(RequestError):
    """The body is larger than this server takes."""

    code, status, http, reason = 3006, "RESOURCE_EXHAUSTED", 413, "too_large"


class KillsInstances(RequestError):
    """The request has killed two instances, and is not given another one for a while."""

    code, status, http, reason = 3055, "INVALID_ARGUMENT", 422, "kills_instances"


class DeadlineExceeded(RequestError):
    """One of the request's time bounds has passed."""

    code, status, http, reason = 3007, "DEADLINE_EXCEEDED", 408, "deadline_exceeded"


class Aborted(RequestError):
    """The caller left, or cancelled the request."""

    code, status, http, reason = 3008, "CANCELLED", 408, "aborted"


class OutOfCapacity(RequestError):
    """No permit is free and the queue is at its bound; another colo may have room."""

    code, status, http, reason, retryable = 3040, "RESOURCE_EXHAUSTED", 429, "out_of_capacity", True


class HopsUsedUp(RequestError):
    """The queue is full and the call may not be forwarded again; others may have room."""

    code, status, http, reason, retryable = 3052, "RESOURCE_EXHAUSTED", 429, "hops_used_up", True


class QueueTimeUsedUp(RequestError):
    """No permit came free within the time that the request may queue."""

    code, status, http, reason = 3053, "RESOURCE_EXHAUSTED", 429, "queue_time_used_up"


class ModelStarting(RequestError):
    """The model's first instance is starting."""

    code, status, http, reason, retryable = 3054, "RESOURCE_EXHAUSTED", 429, "model_starting", True


class Unavailable(RequestError):
    """No healthy endpoint or server can be reached; another may."""

    code, status, http, reason, retryable = 3043, "UNAVAILABLE", 503, "unavailable", True


class ServerLost(Unavailable):
    """The server cannot be reached, is leaving, or owns the shard no more; its next owner may."""

    reason = "server_lost"


class StreamLost(RequestError):
    """The stream broke after its first part."""

    code, status, http, reason = 3045, "UNAVAILABLE", 503, "stream_lost"


class FellBehind(Unavailable):
    """A reader of control's changes was too slow; it starts again from a snapshot."""

    status, reason = "RESOURCE_EXHAUSTED", "fell_behind"


class NameTaken(RequestError):
    """Another live reporter has this kind and name."""

    code, status, http, reason = 7001, "ALREADY_EXISTS", 409, "name_taken"


def _all(cls: type[RequestError]) -> list[type[RequestError]]:
    return [cls, *(each for sub in cls.__subclasses__() for each in _all(sub))]


BY_REASON = {cls.reason: cls for cls in _all(RequestError)[1:]}
