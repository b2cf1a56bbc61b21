"""Workers AI's REST API: POST .../ai/run/{model}, its envelope and its event frames."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

import orjson

from services.entry.auth import Auth
from services.entry.calls import NOT_READ
from services.entry.fronts.bodies import enveloped, sse
from services.entry.fronts.exchange import Exchange
from services.entry.fronts.streaming import Frames, stream_answer
from services.entry.gateway import Gateway
from services.entry.tasks.base import Binary, Shown
from services.entry.tasks.texts import Texts

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
BEFORE, AFTER = b'data: {"response":"', b'"'
PADDING: Final = [b',"p":"%b"}\n\n' % ALPHABET[: at % 36 + 1].encode() for at in range(256)]


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
        request = exchange.request
        token = self._auth.caller(request.headers, account=account, peer=request.peer)
        sent = exchange.sent(limit=self._max_body_bytes)
        plan = self._gateway.plan(exchange.call(token, model, NOT_READ, sent=sent))
        exchange.planned(plan)
        if plan.request.stream:
            await stream_answer(exchange, self._gateway, plan, self._frames)
        else:
            result = (await self._gateway.run(plan)).result
            if plan.task.may_be_binary and isinstance(result, Binary):
                exchange.answer_binary(result)
            else:
                exchange.answer(enveloped(result))


def padded(rng: random.Random) -> Frames:
    """Return what writes frames of a random length, so that the length tells no token."""
    bits = rng.getrandbits

    def dice(count: int) -> bytes:
        return bits(8 * count).to_bytes(count, "little")

    def frames(shown: Sequence[Shown]) -> bytes:
        frames: list[bytes] = []
        for each in shown:
            if isinstance(each, Texts):
                for text, thrown in zip(each.escaped(), dice(each.count), strict=True):
                    frames += (BEFORE, text, AFTER, PADDING[thrown])
            elif "usage" in each:
                frames.append(sse(each))
            else:
                frames += (b"data: ", orjson.dumps(each)[:-1], PADDING[dice(1)[0]])
        return b"".join(frames)

    return frames
