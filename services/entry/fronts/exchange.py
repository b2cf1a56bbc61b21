"""One HTTP request and its answer: counted, bounded, and never without an end.

    with Exchange(request, ...) as exchange:
        exchange.response = ...
    return exchange.response

A context and no middleware, so that nothing of it stands between a front and the model.
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any

from aiohttp import web

from libs.common.errors import Internal, RequestError
from libs.common.world_map import Token
from services.entry.auth import Auth, bearer
from services.entry.calls import Call, Plan
from services.entry.fronts.bodies import (
    JSON,
    client_id,
    error_body,
    error_headers,
    to_json,
)
from services.entry.gateway import Gateway
from services.entry.limits import longest_silence
from services.entry.metrics import EntryMetrics

MOST_RETRIES = 100  # nobody tells more of them apart
log = logging.getLogger(__name__)


class Exchange:
    """Holds what a request is answered with; errors become answers on leaving."""

    response: web.StreamResponse

    def __init__(self, request: web.Request, *, metrics: EntryMetrics, gateway: Gateway) -> None:
        self.request = request
        self.client_request_id = client_id(request.headers.get("x-request-id"))
        self._counting = metrics.request(gateway.colo)
        self._new_id = gateway.new_id
        self._request_id = ""

    def __repr__(self) -> str:
        return f"<Exchange {self.request.method} {self.request.path} {self._request_id}>"

    def __enter__(self) -> Exchange:
        """Begin to count."""
        self.counted = self._counting.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Answer what was raised; a client that left gets no answer."""
        self._counting.__exit__(kind, error, trace)
        if not isinstance(error, Exception) or isinstance(error, ConnectionError):
            return False
        self._request_id = self._request_id or self._new_id()  # refused before it had one
        if not isinstance(error, RequestError):
            what = (self.request.method, self.request.path, self._request_id)
            log.error("%s %s (%s) failed for a reason of ours", *what, exc_info=error)
            error = Internal("internal error")
        self.response = self._refusal(error)
        return True

    def planned(self, plan: Plan) -> None:
        """Take what the answer's headers and the metrics need."""
        self._request_id = plan.request_id
        self.counted.task = plan.task.name

    def answer(self, value: Any, *, status: int = 200) -> None:
        """Answer with JSON."""
        self.response = web.Response(
            body=to_json(value), status=status, content_type=JSON, headers=self.headers()
        )

    def headers(self) -> dict[str, str]:
        """Return the headers that every answer has."""
        headers = {"x-constellation-request-id": self._request_id} if self._request_id else {}
        if self.client_request_id:
            headers["x-request-id"] = self.client_request_id
        return headers

    def _refusal(self, error: RequestError) -> web.Response:
        return web.Response(
            body=to_json(error_body(error)),
            status=error.http,
            content_type=JSON,
            headers=self.headers() | error_headers(error),
        )


def authenticated(request: web.Request, auth: Auth, *, account: str = "") -> Token:
    """Return the caller's token; raises as `Auth.token` does."""
    secret = bearer(request.headers.get("Authorization")) or request.headers.get("X-Auth-Key", "")
    return auth.token(secret, account=account)


def call_of(exchange: Exchange, token: Token, model: str, **rest: Any) -> Call:
    """Return the call, with what the headers say of it."""
    headers = exchange.request.headers
    return Call(
        token=token,
        model=model,
        options=dict(exchange.request.query),
        session=_printable(headers.get("x-session-affinity", ""))[:128],
        client_request_id=exchange.client_request_id,
        idempotency_key=_printable(headers.get("Idempotency-Key", ""))[:256],
        traceparent=_printable(headers.get("traceparent", ""))[:64],
        retry_count=_retries(headers.get("x-stainless-retry-count", "")),
        bounds=longest_silence(headers.get("x-stainless-read-timeout")),
        **rest,
    )


def _printable(value: str) -> str:
    """Return a header's value, empty where it came as bytes that are no text, or is not to show."""
    return value if value.isprintable() else ""


def _retries(value: str) -> int:
    """Return the number of tries before this one, 0 where none is told."""
    if not (value.isascii() and value.isdigit()):
        return 0
    return min(int(value), MOST_RETRIES) if len(value) < 10 else MOST_RETRIES
