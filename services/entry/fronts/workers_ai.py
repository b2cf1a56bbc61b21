"""Workers AI's REST API: POST .../ai/run/{model}, its envelope and its event frames."""

from __future__ import annotations

import random

from aiohttp import web

from services.entry.auth import Auth
from services.entry.fronts.bodies import enveloped, sse
from services.entry.fronts.exchange import Exchange, authenticated, call_of
from services.entry.fronts.reading import BodyReader
from services.entry.fronts.streaming import Frames, stream_answer
from services.entry.gateway import Gateway
from services.entry.metrics import EntryMetrics
from services.entry.tasks.base import Result

RUN = "/client/v4/accounts/{account}/ai/run/{model:(?s:.+)}"
PADDING = "abcdefghijklmnopqrstuvwxyz0123456789"


class WorkersAi:
    """The routes of Workers AI."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        auth: Auth,
        bodies: BodyReader,
        metrics: EntryMetrics,
        rng: random.Random,
    ) -> None:
        self._gateway = gateway
        self._auth = auth
        self._bodies = bodies
        self._metrics = metrics
        self._frames = padded(rng)

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers."""
        return [web.post(RUN, self.run)]

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Run a model."""
        with Exchange(request, metrics=self._metrics, gateway=self._gateway) as exchange:
            token = authenticated(request, self._auth, account=request.match_info["account"])
            body, size = await self._bodies.json(request)
            model = request.match_info["model"]
            plan = self._gateway.plan(call_of(exchange, token, model, body=body, bytes_in=size))
            exchange.planned(plan)
            if plan.stream:
                await stream_answer(exchange, plan, self._gateway.stream(plan), self._frames)
            else:
                answer = await self._gateway.run(plan)
                exchange.answer(enveloped(answer.result))
        return exchange.response


def padded(rng: random.Random) -> Frames:
    """Return what writes frames of a random length, so that the length tells no token."""
    return lambda result: sse(_with_padding(result, rng))


def _with_padding(result: Result, rng: random.Random) -> Result:
    if "usage" in result:
        return result
    return {**result, "p": PADDING[: rng.randint(1, len(PADDING))]}
