"""Workers AI's REST API: POST .../ai/run/{model}, its envelope and its event frames."""

from __future__ import annotations

import random
from collections.abc import Sequence

import orjson

from services.entry.auth import Auth
from services.entry.fronts.bodies import enveloped, sse
from services.entry.fronts.exchange import Exchange
from services.entry.fronts.streaming import Frames, stream_answer
from services.entry.gateway import Gateway
from services.entry.tasks.base import Result

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
PADDING = [b',"p":"%b"}\n\n' % ALPHABET[: at % 36 + 1].encode() for at in range(256)]


class WorkersAi:
    """The route that runs a model."""

    def __init__(
        self, *, gateway: Gateway, auth: Auth, rng: random.Random, max_body_bytes: int
    ) -> None:
        self._gateway = gateway
        self._auth = auth
        self._max_body_bytes = max_body_bytes
        self._frames = padded(rng)

    async def run(self, account: str, model: str, exchange: Exchange) -> None:
        """Run a model."""
        token = self._auth.caller(exchange.request.headers, account=account)
        body = exchange.body(limit=self._max_body_bytes)
        plan = self._gateway.plan(exchange.call(token, model, body))
        exchange.planned(plan)
        if plan.request.stream:
            await stream_answer(exchange, self._gateway, plan, self._frames)
        else:
            answer = await self._gateway.run(plan)
            exchange.answer(enveloped(answer.result))


def padded(rng: random.Random) -> Frames:
    """Return what writes frames of a random length, so that the length tells no token."""
    bits, dumps = rng.getrandbits, orjson.dumps

    def frames(results: Sequence[Result]) -> bytes:
        dice = bits(8 * len(results)).to_bytes(len(results), "little")
        return b"".join(
            [
                sse(result)
                if "usage" in result
                else b"data: " + dumps(result)[:-1] + PADDING[thrown]
                for result, thrown in zip(results, dice, strict=True)
            ]
        )

    return frames
