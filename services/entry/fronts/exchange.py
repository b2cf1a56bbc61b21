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

from libs.common.errors import BadInput, Internal, RequestError, TooLarge
from libs.common.world_map import Token
from services.entry.auth import Auth, bearer
from services.entry.calls import Call, Plan
from services.entry.fronts.bodies import (
    JSON,
    client_id,
    error_body,
    error_headers,
    json_object,
    to_json,
)
from services.entry.limits import longest_silence
from services.entry.metrics import EntryMetrics

log = logging.getLogger(__name__)


class Exchange:
    """Holds what a request is answered with; errors become answers on leaving."""

    response: web.StreamResponse

    def __init__(self, request: web.Request, *, metrics: EntryMetrics, colo: str) -> None:
        self.request = request
        self.client_request_id = client_id(request.headers.get("x-request-id"))
        self._counting = metrics.request(colo)
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
        if not isinstance(error, RequestError):
            what = (self.request.method, self.request.path)
            log.error("%s %s failed for a reason of ours", *what, exc_info=error)
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


async def read_json(request: web.Request) -> tuple[dict[str, Any], int]:
    """Return the body and its size, whatever content type it claims, as curl's -d does."""
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        limit = request.client_max_size
        raise TooLarge(f"Request too large: the limit is {limit} bytes") from error
    except web.RequestPayloadError as error:
        raise BadInput("body: cannot be read, it is cut short or badly encoded") from error
    return json_object(raw), len(raw)


def call_of(exchange: Exchange, token: Token, model: str, **rest: Any) -> Call:
    """Return the call, with what the headers say of it."""
    headers = exchange.request.headers
    retries = headers.get("x-stainless-retry-count", "")
    return Call(
        token=token,
        model=model,
        options=dict(exchange.request.query),
        session=headers.get("x-session-affinity", "")[:128],
        client_request_id=exchange.client_request_id,
        idempotency_key=headers.get("Idempotency-Key", "")[:256],
        traceparent=headers.get("traceparent", "")[:64],
        retry_count=min(int(retries), 100) if retries.isascii() and retries.isdigit() else 0,
        bounds=longest_silence(headers.get("x-stainless-read-timeout")),
        **rest,
    )
