"""One request of a hot route and its answer: counted, and never without an end.

    Exchange(...).run(work, loop)

The work runs at once, without a task of the loop's, and nothing of this stands between
a front and the model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from libs.common.errors import Internal, RequestError
from libs.common.trace_context import TRACEPARENT, TRACESTATE
from libs.common.world_map import Token
from libs.eager import EagerTask, Timers
from libs.http1 import Request, Responder
from services.entry.calls import NOTHING, Call, Plan, Told
from services.entry.fronts.bodies import (
    JSON_HEADER,
    client_id,
    decoded,
    error_body,
    error_headers,
    to_json,
)
from services.entry.fronts.cors import Cors
from services.entry.gateway import Gateway
from services.entry.limits import longest_silence
from services.entry.metrics import CLIENT_LEFT, Counted, EntryMetrics
from services.entry.options import HEADERS, of_headers
from services.entry.tasks.base import Binary
from services.entry.tasks.sent import Sent, json_object

TOLD: Final = frozenset(  # headers that say something of a call
    {
        "idempotency-key",
        TRACEPARENT,
        "x-session-affinity",
        "x-stainless-read-timeout",
        "x-stainless-retry-count",
        *HEADERS,
    }
)
LONGEST_PATH: Final = 500  # in the access log
MOST_RETRIES: Final = 100  # nobody tells more of them apart
log = logging.getLogger(__name__)


class Exchange(Counted):
    """A request while it is answered, and counted; what its work raises becomes the answer."""

    __slots__ = (
        "bytes_in",
        "client_request_id",
        "cors",
        "gateway",
        "others",
        "request",
        "request_id",
        "responder",
        "timers",
    )

    def __init__(
        self,
        metrics: EntryMetrics,
        gateway: Gateway,
        timers: Timers,
        request: Request,
        responder: Responder,
        cors: Cors | None = None,
    ) -> None:
        super().__init__(metrics, gateway.colo)
        self.request = request
        self.responder = responder
        self.gateway = gateway
        self.timers = timers
        self.cors = cors
        self.others: list[Plan] = []  # of a request that is several calls
        self.request_id = ""  # once it is planned
        self.client_request_id = ""
        self.bytes_in = 0

    def __repr__(self) -> str:
        return f"<Exchange {self.request.method} {self.request.path} {self.request_id}>"

    def told(self) -> dict[str, str]:
        """Return what is known of it before it is planned."""
        return {
            "what": f"{self.request.method} {self.request.path[:LONGEST_PATH]}",
            "request_id": self.request_id,
            "client_request_id": self.client_request_id,
        }

    def run(self, work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
        """Run what answers, until it is done or the client has left."""
        self.of_colo.in_flight += 1
        if "x-request-id" in self.request.headers:
            self.client_request_id = client_id(self.request.headers["x-request-id"])
        task = EagerTask(work, self._ended, loop)
        self.responder.on_gone = task.cancel
        task.resume()

    def call(
        self,
        token: Token,
        model: str,
        body: Mapping[str, Any],
        *,
        tasks: Sequence[str] = (),
        sent: Sent | None = None,
    ) -> Call:
        """Return the call, with what query and headers say of it."""
        request = self.request
        silent = not request.query and TOLD.isdisjoint(request.headers)  # as most are
        call = Call(
            token=token,
            model=model,
            body=body,
            tasks=tasks,
            client_request_id=self.client_request_id,
            bytes_in=self.bytes_in,
            told=NOTHING if silent else _told(request),
            sent=sent,
        )
        if not silent or self.metrics.begin_trace is not None:
            call.traceparent, call.tracestate = self.carried(*self.caller())
        return call

    def caller(self) -> tuple[str, str]:
        """Return the caller's traceparent and tracestate, as they came."""
        told = self.request.headers.get
        return told(TRACEPARENT, ""), told(TRACESTATE, "")

    def sent(self, *, limit: int) -> Sent:
        """Return the body as it was sent, for the model's task to read."""
        raw, headers = self.request.body, self.request.headers
        if "content-encoding" in headers:
            raw = decoded(raw, headers["content-encoding"], limit=limit)
        self.bytes_in = len(raw)
        return Sent(raw, headers.get("content-type", ""))

    def body(self, *, limit: int) -> dict[str, Any]:
        """Return the body as JSON, whatever type it claims, as curl's -d does."""
        return json_object(self.sent(limit=limit).content)

    def planned(self, plan: Plan) -> None:
        """Take what the answer's headers and the metrics need."""
        self.plan = plan
        self.request_id = plan.request.request_id
        self.task = plan.task.name

    def answer(self, body: bytes) -> None:
        """Answer with JSON."""
        self.responder.answer(200, self.headers(JSON_HEADER), body)

    def answer_binary(self, binary: Binary) -> None:
        """Answer with the bytes of a picture, of sound, or of whatever it is."""
        headers = self.headers(("Content-Type", binary.content_type))
        self.responder.answer(200, headers, binary.content)

    def headers(self, *more: tuple[str, str]) -> list[tuple[str, str]]:
        """Return these and the headers that every answer has."""
        headers = [*more, ("x-constellation-request-id", self.request_id)]
        if self.cors is not None and "origin" in self.request.headers:
            headers += self.cors.headers(self.request.headers["origin"], self.request.path)
        plan = self.plan
        if plan is not None and plan.model.name != plan.call.model:  # an alias, or a fallback
            headers.append(("x-constellation-model", plan.model.name))
        if plan is not None and plan.hold is not None:
            headers += plan.hold.headers()
        if self.client_request_id:
            headers.append(("x-request-id", self.client_request_id))
        return headers

    def _ended(self, task: EagerTask[None]) -> None:
        """Answer what was raised; a client that left gets no answer."""
        error = task.error
        if self.plan is not None and self.plan.hold is not None:
            for plan in (self.plan, *self.others):
                plan.ended(error or self.error)
        if error is None:
            self.metrics.end(self, 200)
        elif isinstance(error, asyncio.CancelledError | ConnectionError):
            self.metrics.end(self, CLIENT_LEFT)
            self.responder.abort()
        else:
            self._refuse(error)

    def _refuse(self, error: BaseException) -> None:
        self.request_id = self.request_id or self.gateway.new_id()  # refused before it had one
        if not isinstance(error, RequestError):
            what = (self.request.method, self.request.path, self.request_id)
            log.error("%s %s (%s) failed for a reason of ours", *what, exc_info=error)
            error = Internal("internal error")
        self.metrics.end(self, error.http, error)
        headers = self.headers(JSON_HEADER, *error_headers(error).items())
        self.responder.answer(error.http, headers, to_json(error_body(error)))


def _told(request: Request) -> Told:
    """Read what query and headers say of a call."""
    told = request.headers.get
    return Told(
        options=of_headers(request.headers)
        | dict(parse_qsl(request.query, keep_blank_values=True)),
        session=_printable(told("x-session-affinity", ""))[:128],
        idempotency_key=_printable(told("idempotency-key", ""))[:256],
        retry_count=_retries(told("x-stainless-retry-count", "")),
        bounds=longest_silence(told("x-stainless-read-timeout")),
    )


def _printable(value: str) -> str:
    """Return a header's value, empty where it came as bytes that are no text, or is not to show."""
    return value if value.isprintable() else ""


def _retries(value: str) -> int:
    """Return the number of tries before this one, 0 where none is told."""
    if not (value.isascii() and value.isdigit()):
        return 0
    return min(int(value), MOST_RETRIES) if len(value) < 10 else MOST_RETRIES
