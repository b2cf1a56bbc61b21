"""What operators and orchestrators ask: health, metrics, and what is here at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from libs.common.errors import UnknownRoute, WrongMethod
from services.entry.fronts.bodies import JSON, error_body, to_json
from services.entry.fronts.cors import Cors

ROUTES = (
    "POST /client/v4/accounts/{account}/ai/run/{model}",
    "POST /client/v4/accounts/{account}/ai/v1/chat/completions",
    "POST /client/v4/accounts/{account}/ai/v1/completions",
    "POST /client/v4/accounts/{account}/ai/v1/embeddings",
    "POST /client/v4/accounts/{account}/ai/v1/responses",
    "POST /client/v4/accounts/{account}/ai/v1/audio/speech",
    "POST /client/v4/accounts/{account}/ai/v1/audio/transcriptions",
    "POST /client/v4/accounts/{account}/ai/v1/audio/translations",
    "POST /client/v4/accounts/{account}/ai/v1/images/generations",
    "GET /client/v4/accounts/{account}/ai/v1/models",
    "GET /client/v4/accounts/{account}/ai/v1/models/{model}",
    "DELETE /client/v4/accounts/{account}/ai/requests/{request_id}",
    "DELETE /v1/requests/{request_id}",
    "GET /client/v4/accounts/{account}/ai/models/search",
    "GET /client/v4/accounts/{account}/ai/models/schema",
    "GET /client/v4/accounts/{account}/ai/tasks/search",
    "GET /client/v4/accounts/{account}/ai/authors/search",
    "GET /client/v4/accounts/{account}/ai/finetunes",
    "POST /client/v4/accounts/{account}/ai/finetunes",
    "GET /client/v4/accounts/{account}/ai/finetunes/public",
    "DELETE /client/v4/accounts/{account}/ai/finetunes/{finetune}",
    "POST /client/v4/accounts/{account}/ai/finetunes/{finetune}/finetune-assets",
    "GET /client/v4/accounts/{account}/ai/usage",
    "GET /client/v4/accounts/{account}/ai/usage/requests",
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/embeddings",
    "POST /v1/responses",
    "POST /v1/audio/speech",
    "POST /v1/audio/transcriptions",
    "POST /v1/audio/translations",
    "POST /v1/images/generations",
    "GET /v1/models",
    "GET /v1/models/{model}",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /openapi.json",
    "GET /docs",
    "GET /console",
)


class Ops:
    """The routes that run no model; `not_ready` says why entry is not, or nothing."""

    def __init__(
        self,
        *,
        registry: CollectorRegistry,
        not_ready: Callable[[], str],
        is_hot: Callable[[str], bool],
        shows_metrics: bool,
        cors: Cors,
    ) -> None:
        self._registry = registry
        self._not_ready = not_ready
        self._cors = cors
        self._shows_metrics = shows_metrics
        self._is_hot = is_hot  # whether another protocol than aiohttp takes POST there

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers; the last one takes all that is left."""
        return [
            web.get("/", self.index),
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            *([web.get("/metrics", self.metrics)] if self._shows_metrics else ()),
            web.route("*", "/{rest:(?s:.*)}", self.unknown),
        ]

    async def index(self, request: web.Request) -> web.Response:
        """Say what is here."""
        return _json({"service": "constellation", "routes": ROUTES})

    async def healthz(self, request: web.Request) -> web.Response:
        """Say that the process lives."""
        return _json({"status": "ok"})

    async def readyz(self, request: web.Request) -> web.Response:
        """Say whether calls can be served."""
        reason = self._not_ready()
        if reason:
            return _json({"status": "not ready", "reason": reason}, status=503)
        return _json({"status": "ready"})

    async def metrics(self, request: web.Request) -> web.Response:
        """Show the metrics in Prometheus' text format."""
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        # In a thread: a page takes several ms, and calls must not wait for it.
        body = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(body=body, headers=headers)

    async def unknown(self, request: web.Request) -> web.Response:
        """Tell a wrong address from a wrong method, and browsers whether a page may call."""
        told = request.headers
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in told:
            wanted = told.get("Access-Control-Request-Headers", "")
            may = self._cors.preflight(told.get("Origin", ""), request.path, wanted)
            if may:
                return web.Response(status=204, headers=dict(may))
        allowed = ["POST"] if self._is_hot(request.path) else await _methods(request)
        if allowed:
            text = f"{request.method} is not for this address: {', '.join(allowed)}"
            return _json(
                error_body(WrongMethod(text)), status=405, headers={"Allow": ", ".join(allowed)}
            )
        return unknown(request)


def unknown(request: web.Request) -> web.Response:
    """Say that there is nothing at an address."""
    error = UnknownRoute(f"there is nothing at {request.path[:200]}")
    return _json(error_body(error), status=404)


async def _methods(request: web.Request) -> list[str]:
    """Return the methods that the address has, but for the one that takes all."""
    methods: set[str] = set()
    for resource in request.app.router.resources():
        _, allowed = await resource.resolve(request)
        methods |= allowed
    return sorted(methods - {"*"})


def _json(
    value: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(body=to_json(value), status=status, content_type=JSON, headers=headers)
