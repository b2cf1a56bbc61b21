"""Requests per address, counted on the cold routes before any of them is looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from libs.common.errors import RequestError
from services.entry.clients import Clients
from services.entry.fronts.bodies import JSON, error_body, error_headers, to_json
from services.entry.gateway import Gateway
from services.entry.metrics import EntryMetrics


def counting(clients: Clients, *, gateway: Gateway, metrics: EntryMetrics) -> list[Middleware]:
    """Return what stands before the cold routes: nothing, where requests are not counted."""

    @web.middleware
    async def count(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            clients.request(request.remote or "", request.headers)
        except RequestError as error:
            metrics.end(metrics.begin(gateway.colo), error.http, error)
            headers = {**error_headers(error), "x-constellation-request-id": gateway.new_id()}
            body = to_json(error_body(error))
            return web.Response(body=body, status=error.http, content_type=JSON, headers=headers)
        return await handler(request)

    return [count] if clients.count_requests else []
