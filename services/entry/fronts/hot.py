"""The hot routes: which front runs a request, told from its method and its path alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from libs.common.errors import (
    BadHttp,
    DeadlineExceeded,
    Internal,
    RequestError,
    TooLarge,
    TooManyConnections,
    Unavailable,
)
from libs.eager import Timers
from libs.http1 import Handler, Refusal, Request, Responder
from services.entry.clients import Clients
from services.entry.fronts.bodies import JSON_HEADER, error_body, error_headers, to_json
from services.entry.fronts.cors import Cors
from services.entry.fronts.exchange import Exchange
from services.entry.fronts.workers_ai import WorkersAi
from services.entry.gateway import Gateway
from services.entry.metrics import EntryMetrics

ACCOUNTS: Final = "/client/v4/accounts/"
RUN: Final = "ai/run/"
MEANINGS: Final[dict[int, type[RequestError]]] = {
    500: Internal,
    408: DeadlineExceeded,
    413: TooLarge,
    429: TooManyConnections,
    503: Unavailable,
}
MOST_KEPT: Final = 1024
TICK_S: Final = 0.25  # between two looks at how long streams have taken
Work = Callable[[Exchange], Coroutine[Any, Any, None]]
OpenAiWork = Callable[[str, Exchange], Coroutine[Any, Any, None]]  # with the account, or ""


class HotRoutes:
    """Finds the front for a request, and answers what is no request at all."""

    def __init__(
        self,
        *,
        workers_ai: WorkersAi,
        openai: Mapping[str, OpenAiWork],
        metrics: EntryMetrics,
        gateway: Gateway,
        cors: Cors | None = None,
        clients: Clients | None = None,
    ) -> None:
        """`openai` has what is done at each of OpenAI's paths, below the one that they share.

        `clients` counts each address' requests.
        """
        self._workers_ai = workers_ai
        self._openai = openai
        self._metrics = metrics
        self._gateway = gateway
        self._cors = cors
        self._clients = clients if clients is not None and clients.count_requests else None
        self._handlers: dict[str, Handler] = {}  # by path
        self._timers = Timers(tick_s=TICK_S)

    def route(self, method: str, path: str) -> Handler | None:
        """Return who answers, None where it is not a hot route."""
        if method != "POST":
            return None
        return self._handlers.get(path) or self._handler(path)

    def _handler(self, path: str) -> Handler | None:
        work = self.find(path)
        if work is None:
            return None
        metrics, gateway, timers = self._metrics, self._gateway, self._timers
        cors = self._cors
        if self._clients is not None:
            work = partial(_counted, self._clients, work)
        loop = asyncio.get_running_loop()  # which is the same for all requests

        def handle(request: Request, responder: Responder) -> None:
            exchange = Exchange(metrics, gateway, timers, request, responder, cors)
            exchange.run(work(exchange), loop)

        if len(self._handlers) >= MOST_KEPT:
            self._handlers.clear()
        self._handlers[path] = handle
        return handle

    def find(self, path: str) -> Work | None:
        """Return what is done at a path, whatever the method."""
        if path.startswith("/v1/"):
            return self._of_openai(path[4:], "")
        if not path.startswith(ACCOUNTS):
            return None
        account, _, rest = path[len(ACCOUNTS) :].partition("/")
        if not account:
            return None
        if rest.startswith(RUN) and len(rest) > len(RUN):
            model, run = rest[len(RUN) :], self._workers_ai.run
            return partial(run, account, model)
        return self._of_openai(rest[6:], account) if rest.startswith("ai/v1/") else None

    def refuse(self, refusal: Refusal) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return the answer to what never became a request."""
        error = MEANINGS.get(refusal.status, BadHttp)(refusal.message)
        self._metrics.end(self._metrics.begin(self._gateway.colo), refusal.status, error)
        request_id = ("x-constellation-request-id", self._gateway.new_id())
        headers = [JSON_HEADER, request_id, *error_headers(error).items()]
        return refusal.status, headers, to_json(error_body(error))

    def _of_openai(self, name: str, account: str) -> Work | None:
        work = self._openai.get(name)
        return None if work is None else partial(work, account)


async def _counted(clients: Clients, work: Work, exchange: Exchange) -> None:
    """Do the work, if the client's address may ask for more."""
    clients.request(exchange.request.peer, exchange.request.headers)
    await work(exchange)
