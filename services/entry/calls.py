"""A call as the fronts hand it to the gateway, and the answer that they get back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from libs.common.catalog import Model
from libs.common.deadline import Deadline
from libs.common.envelope import NO_BOUNDS, InferRequest, Outcome, RequestSource, TimeBounds
from libs.common.errors import RequestError
from libs.common.ranking import Place
from libs.common.values import Value
from libs.common.world_map import Token
from services.entry.holds import Hold
from services.entry.tasks.base import ParsedInput, Rendered, Task
from services.entry.tasks.sent import Sent

NO_OPTIONS: Final[Mapping[str, str]] = MappingProxyType({})
NOT_READ: Final[Mapping[str, Any]] = MappingProxyType({})  # a body that is still to be read
_REST: Final = RequestSource.REST


class Told(Value):
    """What a client says of a call beside its body."""

    __slots__ = (
        "bounds",
        "idempotency_key",
        "options",
        "retry_count",
        "session",
        "source",
        "stream",
    )

    def __init__(
        self,
        *,
        options: Mapping[str, str] = NO_OPTIONS,
        stream: bool | None = None,  # None: as the body says
        session: str = "",
        idempotency_key: str = "",
        retry_count: int = 0,
        bounds: TimeBounds = NO_BOUNDS,
        source: RequestSource = _REST,
    ) -> None:
        self.options = options
        self.stream = stream
        self.session = session
        self.idempotency_key = idempotency_key
        self.retry_count = retry_count
        self.bounds = bounds
        self.source = source


NOTHING: Final = Told()


class Call(Value):
    """What a client wants, whichever front it came through."""

    __slots__ = (
        "body",
        "bytes_in",
        "client_request_id",
        "model",
        "sent",
        "tasks",
        "token",
        "told",
        "traceparent",
        "tracestate",
    )

    def __init__(
        self,
        *,
        token: Token,
        model: str,
        body: Mapping[str, Any],
        tasks: Sequence[str] = (),  # which this route takes; all, if empty
        client_request_id: str = "",
        bytes_in: int = 0,
        told: Told = NOTHING,
        sent: Sent | None = None,  # in place of a body: its task reads it, once that is known
        traceparent: str = "",  # of the span that it is under
        tracestate: str = "",
    ) -> None:
        self.token = token
        self.model = model
        self.body = body
        self.sent = sent
        self.tasks = tasks
        self.client_request_id = client_request_id
        self.bytes_in = bytes_in
        self.told = told
        self.traceparent = traceparent
        self.tracestate = tracestate


class Fallen(Value):
    """What is known of a call once a model has failed it that has fallbacks."""

    __slots__ = ("deadline", "error", "rest")

    def __init__(self, error: RequestError, rest: list[Model], deadline: Deadline) -> None:
        self.error = error  # of the model that was asked for
        self.rest = rest  # of the chain, the next one first
        self.deadline = deadline  # of the whole chain


class Plan(Value):
    """A call that was found right: what to send, where to, and how to read the answer."""

    __slots__ = (
        "began",
        "call",
        "fallen",
        "hold",
        "model",
        "outcome",
        "parsed",
        "parts",
        "place",
        "request",
        "task",
    )

    def __init__(
        self,
        *,
        request: InferRequest,  # as the first place gets it
        model: Model,
        task: Task,
        parsed: ParsedInput,
        place: Place | None,  # where it goes first; None where nobody serves the model now
        began: float,  # monotonic seconds
        call: Call,
    ) -> None:
        self.call = call
        self.fallen: Fallen | None = None
        self.hold: Hold | None = None  # of a limited account
        self.outcome: Outcome | None = None  # once it has been answered
        self.parts = 0  # of a stream, that have come
        self.request = request
        self.model = model
        self.task = task
        self.parsed = parsed
        self.place = place
        self.began = began

    def used(self, outcome: Outcome) -> None:
        """Keep how it was answered, and settle what it holds of its account's limits."""
        self.outcome = outcome
        if self.hold is not None:
            self.hold.settle(outcome.usage)

    def ended(self, error: BaseException | None) -> None:
        """Let go of what it still holds, if it failed or its client left."""
        if self.hold is not None:
            self.hold.end(error, self.parts)

    def becomes(self, other: Plan) -> None:
        """Go on as another plan for the same call, of the next model: fronts keep this one."""
        other.request.request_id = self.request.request_id
        other.request.attempt += self.request.attempt
        self.request = other.request
        self.model = other.model
        self.task = other.task
        self.parsed = other.parsed
        self.place = other.place
        self.began = other.began


class Answer(Value):
    """What a unary call is answered with."""

    __slots__ = ("outcome", "result")

    def __init__(
        self,
        *,
        result: Rendered,
        outcome: Outcome,
    ) -> None:
        self.result = result
        self.outcome = outcome
