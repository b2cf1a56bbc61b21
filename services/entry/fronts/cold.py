"""Cold routes: a function of a request becomes a handler, counted, whose errors are answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from libs.common.errors import Internal, RequestError
from libs.common.world_map import Scope, Token
from services.entry.auth import Auth
from services.entry.fronts.bodies import client_id, error_body, error_headers, written
from services.entry.gateway import Gateway
from services.entry.metrics import EntryMetrics

# What it returns, or what that comes to, is written as JSON, or goes out as the bytes it is.
Look = Callable[[web.Request, Token], object | Awaitable[object]]
Handler = Callable[[web.Request], Awaitable[web.Response]]
log = logging.getLogger(__name__)


class ColdRoutes:
    """What the routes have in common that run no model for an account."""

    def __init__(self, *, gateway: Gateway, auth: Auth, metrics: EntryMetrics) -> None:
        self._gateway = gateway
        self._auth = auth
        self._metrics = metrics

    def answering(self, look: Look, *, scope: Scope = "read") -> Handler:
        """Return the handler of a route; the account in its path, if any, is the token's."""

        async def handle(request: web.Request) -> web.Response:
            headers = {"x-constellation-request-id": self._gateway.new_id()}
            if theirs := client_id(request.headers.get("x-request-id")):
                headers["x-request-id"] = theirs
            status, value = 200, None
            try:
                with self._metrics.request(self._gateway.colo, f"{request.method} {request.path}"):
                    account, peer = request.match_info.get("account", ""), request.remote or ""
                    told = request.headers
                    token = self._auth.caller(told, account=account, scope=scope, peer=peer)
                    found = look(request, token)
                    value = await found if isinstance(found, Awaitable) else found
            except Exception as error:  # noqa: BLE001  (a bug of ours is an answer, too)
                refusal = _told(error, request)
                status, value = refusal.http, error_body(refusal)
                headers |= error_headers(refusal)
            body, headers["Content-Type"] = written(value)
            return web.Response(body=body, status=status, headers=headers)

        return handle


def _told(error: Exception, request: web.Request) -> RequestError:
    """Return what the client is told."""
    if isinstance(error, RequestError):
        return error
    log.error("%s %s failed for a reason of ours", request.method, request.path, exc_info=error)
    return Internal("internal error")
