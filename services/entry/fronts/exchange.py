"""One request of a hot route and its answer: counted, and never without an end.

    Exchange(request, responder, ...).run(work)

The work runs at once, without a task of the loop's, and nothing of this stands between
a front and the model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qsl

from libs.common.errors import Internal, RequestError
from libs.common.world_map import Token
from libs.eager import EagerTask, start
from libs.http1 import Request, Responder
from services.entry.auth import Auth, bearer
from services.entry.calls import Call, Plan
from services.entry.fronts.bodies import (
    JSON_HEADERS,
    client_id,
    error_body,
    error_headers,
    read_json,
    to_json,
)
from services.entry.gateway import Gateway
from services.entry.limits import longest_silence
from services.entry.metrics import CLIENT_LEFT, EntryMetrics

MOST_RETRIES = 100  # nobody tells more of them apart
log = logging.getLogger(__name__)


class Exchange:
    """A request while it is answered; what its work raises becomes the answer."""

    __slots__ = (
        "_gateway",
        "_metrics",
        "_request_id",
        "client_request_id",
        "counted",
        "request",
        "responder",
    )

    def __init__(
        self, request: Request, responder: Responder, *, metrics: EntryMetrics, gateway: Gateway
    ) -> None:
        self.request = request
        self.responder = responder
        self.client_request_id = client_id(request.headers.get("x-request-id"))
        self.counted = metrics.begin(gateway.colo)
        self._metrics = metrics
        self._gateway = gateway
        self._request_id = ""

    def __repr__(self) -> str:
        return f"<Exchange {self.request.method} {self.request.path} {self._request_id}>"

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what answers, until it is done or the client has left."""
        self.responder.on_gone = start(work, self._ended).cancel

    def call(self, token: Token, model: str, **rest: Any) -> Call:
        """Return the call, with what the headers say of it."""
        request = self.request
        headers = request.headers.get
        return Call(
            token=token,
            model=model,
            options=dict(parse_qsl(request.query, keep_blank_values=True)) if request.query else {},
            session=_printable(headers("x-session-affinity", ""))[:128],
            client_request_id=self.client_request_id,
            idempotency_key=_printable(headers("idempotency-key", ""))[:256],
            traceparent=_printable(headers("traceparent", ""))[:64],
            retry_count=_retries(headers("x-stainless-retry-count", "")),
            bounds=longest_silence(headers("x-stainless-read-timeout")),
            **rest,
        )

    def token(self, auth: Auth, *, account: str = "") -> Token:
        """Return the caller's token; raises as `Auth.token` does."""
        headers = self.request.headers
        secret = bearer(headers.get("authorization")) or headers.get("x-auth-key", "")
        return auth.token(secret, account=account)

    def body(self, *, limit: int) -> tuple[dict[str, Any], int]:
        """Return the body and its size, whatever type it claims, as curl's -d does."""
        encoding = self.request.headers.get("content-encoding", "")
        return read_json(self.request.body, encoding, limit=limit)

    def planned(self, plan: Plan) -> None:
        """Take what the answer's headers and the metrics need."""
        self._request_id = plan.request_id
        self.counted.task = plan.task.name

    def answer(self, value: Any) -> None:
        """Answer with JSON."""
        self.responder.answer(200, [*JSON_HEADERS, *self.headers()], to_json(value))

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that every answer has."""
        headers = []
        if self._request_id:
            headers.append(("x-constellation-request-id", self._request_id))
        if self.client_request_id:
            headers.append(("x-request-id", self.client_request_id))
        return headers

    def _ended(self, task: EagerTask[None]) -> None:
        """Answer what was raised; a client that left gets no answer."""
        error = task.exception()
        if error is None:
            self._metrics.end(self.counted, 200)
        elif isinstance(error, asyncio.CancelledError | ConnectionError):
            self._metrics.end(self.counted, CLIENT_LEFT)
            self.responder.abort()
        else:
            self._refuse(error)

    def _refuse(self, error: BaseException) -> None:
        self._request_id = self._request_id or self._gateway.new_id()  # refused before it had one
        if not isinstance(error, RequestError):
            what = (self.request.method, self.request.path, self._request_id)
            log.error("%s %s (%s) failed for a reason of ours", *what, exc_info=error)
            error = Internal("internal error")
        self._metrics.end(self.counted, error.http, error)
        headers = [*JSON_HEADERS, *self.headers(), *error_headers(error).items()]
        self.responder.answer(error.http, headers, to_json(error_body(error)))


Exchanges = Callable[[Request, Responder], Exchange]


def _printable(value: str) -> str:
    """Return a header's value, empty where it came as bytes that are no text, or is not to show."""
    return value if value.isprintable() else ""


def _retries(value: str) -> int:
    """Return the number of tries before this one, 0 where none is told."""
    if not (value.isascii() and value.isdigit()):
        return 0
    return min(int(value), MOST_RETRIES) if len(value) < 10 else MOST_RETRIES
