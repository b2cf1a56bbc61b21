"""All that can go wrong with a request, a class per reason: fronts decide nothing.

`make docs` makes docs/errors.md of docstrings and `again`: what it means, what a caller can do.
"""

from __future__ import annotations

from typing import ClassVar


class RequestError(Exception):
    """A request failed for a reason that the caller may be told."""

    code: ClassVar[int] = 3044
    status: ClassVar[str] = "INTERNAL"
    http: ClassVar[int] = 500
    reason: ClassVar[str] = "failed"
    retryable: ClassVar[bool] = False  # elsewhere: by entry or a server, before the caller sees it
    again: ClassVar[str] = "no"
    should_retry: ClassVar[bool | None] = None  # what `x-should-retry` says; None: no header

    def __init__(
        self, message: str, *, retry_after_ms: int = 0, pointer: str = "", sent: bool = False
    ) -> None:
        """`pointer` is the JSON pointer of a bad field; `sent`: the model may have seen it."""
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
        self.pointer = pointer
        self.sent = sent
        self.headers: tuple[tuple[str, str], ...] = ()  # that its answer has besides
        self.free_permits: int | None = None  # the server's: of the shard, where it is known, and
        self.queue_length = 0
        self.recorded = False  # an event tells of it already


class ModelFailed(RequestError):
    """The model answered with an error of its own."""

    reason, again = "model_failed", "may help"


class Internal(RequestError):
    """A bug of ours; the log has it, the message tells no details."""

    code, reason = 3046, "internal"
    again = "may help"


class Unauthenticated(RequestError):
    """No token, or an unknown or expired one, or one of a deleted account."""

    code, status, http, reason = 10000, "UNAUTHENTICATED", 401, "unauthenticated"


class WrongAccount(RequestError):
    """The token is another account's."""

    code, status, http, reason = 10001, "PERMISSION_DENIED", 403, "wrong_account"


class AccountBlocked(RequestError):
    """The account may not run anything."""

    code, status, http, reason = 3023, "PERMISSION_DENIED", 403, "account_blocked"


class ScopeMissing(RequestError):
    """The token may not do this: it lacks the scope that the message names."""

    code, status, http, reason = 10002, "PERMISSION_DENIED", 403, "scope_missing"


class WrongRole(RequestError):
    """Between services: the caller's certificate is of another role than may call this."""

    code, status, http, reason = 7007, "PERMISSION_DENIED", 503, "wrong_role"


class RpcTokenMissing(RequestError):
    """Between services: control or usage has an `rpc_token`, which the call does not show."""

    code, status, http, reason = 7011, "UNAUTHENTICATED", 503, "rpc_token_missing"


class ModelNotAllowed(RequestError):
    """The model is not for this account."""

    code, status, http, reason = 5018, "PERMISSION_DENIED", 403, "model_not_allowed"


class ModelNotForToken(RequestError):
    """The model is for this account, but not for this token."""

    code, status, http, reason = 3041, "PERMISSION_DENIED", 403, "model_not_for_token"


class UnknownModel(RequestError):
    """No such model, or one of a task that is not here yet."""

    code, status, http, reason = 5007, "INVALID_ARGUMENT", 400, "unknown_model"


class InvalidModel(RequestError):
    """The model that is asked about is not there."""

    code, status, http, reason = 3042, "NOT_FOUND", 404, "invalid_model"


class ModelDeprecated(RequestError):
    """The model's `planned_deprecation_date` has come."""

    code, status, http, reason = 5028, "FAILED_PRECONDITION", 410, "model_deprecated"
    again = "no: take another model"


class NoQueue(RequestError):
    """`queueRequest` or `requests` was asked for, and there is no queue beyond the request yet."""

    code, status, http, reason = 5031, "UNIMPLEMENTED", 400, "no_queue"
    again = "without it"


class JsonModeFailed(RequestError):
    """The model's answer is not the JSON that `response_format` asked for."""

    code, status, http, reason = 5024, "INTERNAL", 422, "json_mode_failed"
    again = "may help, as may a longer `max_tokens`"


class UnknownRoute(RequestError):
    """Nothing is at this address."""

    code, status, http, reason = 7000, "NOT_FOUND", 404, "unknown_route"


class WrongMethod(RequestError):
    """The address takes another method; `Allow` says which."""

    code, status, http, reason = 7002, "UNIMPLEMENTED", 405, "wrong_method"


class BadHttp(RequestError):
    """Not HTTP that is taken here, or it could be read in two ways; 417, 431, 501, 505 say more."""

    code, status, http, reason = 7003, "INVALID_ARGUMENT", 400, "bad_http"


class BadInput(RequestError):
    """A field does not fit; `source.pointer` names it."""

    code, status, http, reason = 5006, "INVALID_ARGUMENT", 400, "bad_input"
    again = "no: change it"


class BadBase64(BadInput):
    """A picture or sound is no base64, or no type that one may have; `source.pointer` names it."""

    code, reason = 5004, "bad_base64"


class ModelRefused(RequestError):
    """The model refused the input."""

    code, status, http, reason = 3003, "INVALID_ARGUMENT", 400, "model_refused"
    again = "no: change it"


class LoraUnsupported(RequestError):
    """The model takes no adapters."""

    code, status, http, reason = 5005, "INVALID_ARGUMENT", 405, "lora_unsupported"


class FinetuneIncomplete(RequestError):
    """A file of the finetune has not been uploaded yet."""

    code, status, http, reason = 3039, "FAILED_PRECONDITION", 400, "finetune_incomplete"
    again = "once it is uploaded"


class UnknownFinetune(RequestError):
    """The account has no such finetune."""

    code, status, http, reason = 5050, "NOT_FOUND", 404, "unknown_finetune"


class FinetuneExists(RequestError):
    """The account has a finetune of this name already, or the public ones do."""

    code, status, http, reason = 5051, "ALREADY_EXISTS", 409, "finetune_exists"
    again, should_retry = "no: name it differently", False


class AssetExists(RequestError):
    """The finetune has this file already; files never change."""

    code, status, http, reason = 5052, "ALREADY_EXISTS", 409, "asset_exists"
    again, should_retry = "no: make another finetune", False


class TooManyFinetunes(RequestError):
    """The account has as many finetunes as it may."""

    code, status, http, reason = 5053, "FAILED_PRECONDITION", 403, "too_many_finetunes"
    again = "no: delete one"


class BadAdapter(RequestError):
    """An uploaded file is none of an adapter that fits the model."""

    code, status, http, reason = 5054, "INVALID_ARGUMENT", 400, "bad_adapter"
    again = "no: change it"


class TooManyUploads(RequestError):
    """As many files are being uploaded as may be at once."""

    code, status, http, reason = 5055, "RESOURCE_EXHAUSTED", 429, "too_many_uploads"
    again, should_retry = "after Retry-After", True


class FinetuneAbsent(RequestError):
    """The finetune's files are not on this instance: they have just been uploaded, or deleted."""

    code, status, http, reason, retryable = 5057, "UNAVAILABLE", 503, "finetune_absent", True
    again, should_retry = "after Retry-After", True


class NoRoom(RequestError):
    """Control's disk has no room for the file."""

    code, status, http, reason = 5056, "RESOURCE_EXHAUSTED", 507, "no_room"
    again = "no: an operator must make room"


class TooLarge(RequestError):
    """The body is larger than entry takes, packed or unpacked."""

    code, status, http, reason = 3006, "RESOURCE_EXHAUSTED", 413, "too_large"
    again = "no: send less"


class KillsInstances(RequestError):
    """Two instances of the model died under this request; it is refused for ten minutes."""

    code, status, http, reason = 3055, "INVALID_ARGUMENT", 422, "kills_instances"
    again = "no: change it"


class DeadlineExceeded(RequestError):
    """One of the time bounds has passed, or headers or body did not come in time."""

    code, status, http, reason = 3007, "DEADLINE_EXCEEDED", 408, "deadline_exceeded"
    again, should_retry = "with a longer bound; the model may have run", False


class Aborted(RequestError):
    """The caller left, cancelled, or sent the call again while this one still waited."""

    code, status, http, reason = 3008, "CANCELLED", 408, "aborted"
    again, should_retry = "as you like", False


class OutOfCapacity(RequestError):
    """No permit is free in any colo, and the account's queue is full or `rejectIfBusy` is set."""

    code, status, http, reason, retryable = 3040, "RESOURCE_EXHAUSTED", 429, "out_of_capacity", True
    again = "after Retry-After, the shortest wait that is expected in any of them"
    should_retry = True


class HopsUsedUp(RequestError):
    """The queue is full and the call may not be forwarded again; others may have room."""

    code, status, http, reason, retryable = 3052, "RESOURCE_EXHAUSTED", 429, "hops_used_up", True
    again, should_retry = "after Retry-After", True


class NeuronsUsedUp(RequestError):
    """The account's neurons of the day are used up; they are counted from midnight, UTC."""

    code, status, http, reason = 3036, "RESOURCE_EXHAUSTED", 429, "neurons_used_up"
    again, should_retry = "tomorrow", False


class RateLimited(RequestError):
    """The account has sent as many requests of this task as it may in a minute."""

    code, status, http, reason = 3050, "RESOURCE_EXHAUSTED", 429, "rate_limited"
    again, should_retry = "after Retry-After", True


class TokenRateLimited(RequestError):
    """The account's tokens per minute do not suffice for this call's input and `max_tokens`."""

    code, status, http, reason = 3051, "RESOURCE_EXHAUSTED", 429, "token_rate_limited"
    again, should_retry = "after Retry-After, or with fewer `max_tokens`", True


class QueueTimeUsedUp(RequestError):
    """No permit came free within the time that the call may wait."""

    code, status, http, reason = 3053, "RESOURCE_EXHAUSTED", 429, "queue_time_used_up"
    again, should_retry = "after Retry-After", True


class ModelStarting(RequestError):
    """The model has no instance that is ready yet, and the call cannot wait for the boot."""

    code, status, http, reason, retryable = 3054, "RESOURCE_EXHAUSTED", 429, "model_starting", True
    again, should_retry = "after Retry-After, what is left of the boot", True


class Unavailable(RequestError):
    """No healthy endpoint or server, or it was lost, and the model may have run.

    Or entry has too many connections, is leaving, or has heard nothing from control yet.
    """

    code, status, http, reason, retryable = 3043, "UNAVAILABLE", 503, "unavailable", True
    again, should_retry = "after Retry-After", True


class ServerLost(Unavailable):
    """Between services: a server cannot be reached, is leaving, or owns the shard no more.

    Clients see `unavailable`.
    """

    reason = "server_lost"
    again = "by itself"


class StreamLost(RequestError):
    """The stream broke after its first part, and could not go on elsewhere."""

    code, status, http, reason = 3045, "UNAVAILABLE", 503, "stream_lost"
    again = "yes, from the start"


class FellBehind(Unavailable):
    """Between services: a reader of control was too slow, and starts again from a snapshot."""

    status, reason = "RESOURCE_EXHAUSTED", "fell_behind"
    again = "by itself"


class UsageUnavailable(Unavailable):
    """Analytics, which knows what was used, is away or slow; models run without it."""

    code, reason, retryable = 7005, "usage_unavailable", False


class KeyReused(RequestError):
    """The idempotency key was sent with another request within the last minutes."""

    code, status, http, reason = 7004, "ALREADY_EXISTS", 409, "idempotency_key_reused"
    again, should_retry = "no: with another key", False


class TooManyRequests(RequestError):
    """The client's address has sent as many requests in a second as one may, whoever it is."""

    code, status, http, reason = 7008, "RESOURCE_EXHAUSTED", 429, "too_many_requests"
    again, should_retry = "after Retry-After", True


class TooManyWrongTokens(RequestError):
    """So many came from the client's address that only those served before are looked at."""

    code, status, http, reason = 7009, "RESOURCE_EXHAUSTED", 429, "too_many_wrong_tokens"
    again, should_retry = "after Retry-After", True


class TooManyConnections(RequestError):
    """The client's address has as many connections as one may."""

    code, status, http, reason = 7010, "RESOURCE_EXHAUSTED", 429, "too_many_connections"
    again, should_retry = "once one is closed", True


class TooManyViewers(RequestError):
    """As many consoles are watching this entry as may at once."""

    code, status, http, reason = 7006, "RESOURCE_EXHAUSTED", 429, "too_many_viewers"
    again, should_retry = "after Retry-After", True


class NameTaken(RequestError):
    """Between services: two reporters of one name."""

    code, status, http, reason = 7001, "ALREADY_EXISTS", 409, "name_taken"
    again, should_retry = "no: name one differently", False


def _all(cls: type[RequestError]) -> list[type[RequestError]]:
    return [cls, *(each for sub in cls.__subclasses__() for each in _all(sub))]


BY_REASON = {cls.reason: cls for cls in _all(RequestError)[1:]}
