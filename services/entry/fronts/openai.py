"""OpenAI's API: chat completions, embeddings and models, with the account in the path or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from libs.common.catalog import Model
from libs.common.clock import Clock
from libs.common.errors import BadInput
from services.entry.auth import Auth
from services.entry.calls import Plan
from services.entry.fronts.exchange import Exchange, authenticated, call_of
from services.entry.fronts.openai_bodies import (
    ChatFrames,
    Translated,
    chat_body,
    check_dimensions,
    completion,
    embeddings,
    embeddings_body,
    in_their_words,
)
from services.entry.fronts.reading import BodyReader
from services.entry.fronts.streaming import stream_answer
from services.entry.gateway import Gateway
from services.entry.metrics import EntryMetrics

PREFIXES = ("/client/v4/accounts/{account}/ai/v1", "/v1")


class OpenAi:
    """The routes of OpenAI's API; the account is the token's."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        auth: Auth,
        bodies: BodyReader,
        metrics: EntryMetrics,
        clock: Clock,
    ) -> None:
        self._gateway = gateway
        self._auth = auth
        self._bodies = bodies
        self._metrics = metrics
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return what this front answers."""
        return [
            route
            for prefix in PREFIXES
            for route in (
                web.post(f"{prefix}/chat/completions", self.chat),
                web.post(f"{prefix}/embeddings", self.embed),
                web.get(f"{prefix}/models", self.models),
            )
        ]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer a conversation, whole or in chunks."""
        with self._exchange(request) as exchange:
            said, plan = await self._plan(exchange, chat_body, task="text-generation", names={})
            created = self._clock.unix_ms() // 1000
            if plan.stream:
                frames = ChatFrames(request_id=plan.request_id, translated=said, created=created)
                await stream_answer(exchange, plan, self._gateway.stream(plan), frames)
            else:
                answer = await self._gateway.run(plan)
                exchange.answer(
                    completion(
                        answer.result,
                        request_id=plan.request_id,
                        model=said.model,
                        created=created,
                    )
                )
        return exchange.response

    async def embed(self, request: web.Request) -> web.StreamResponse:
        """Answer with the vectors of one or more texts."""
        with self._exchange(request) as exchange:
            names = {"text": "input"}
            said, plan = await self._plan(
                exchange, embeddings_body, task="text-embeddings", names=names
            )
            check_dimensions(said, _dimensions(plan.model))
            answer = await self._gateway.run(plan)
            tokens = answer.outcome.usage.tokens_in
            exchange.answer(embeddings(answer.result, translated=said, prompt_tokens=tokens))
        return exchange.response

    async def models(self, request: web.Request) -> web.StreamResponse:
        """List what the account may run."""
        with self._exchange(request) as exchange:
            token = authenticated(
                request, self._auth, account=request.match_info.get("account", "")
            )
            models = [
                {
                    "id": model.name,
                    "object": "model",
                    "created": 0,
                    "owned_by": model.listing.author or "constellation",
                }
                for model in self._gateway.models(token.account)
            ]
            exchange.answer({"object": "list", "data": models})
        return exchange.response

    def _exchange(self, request: web.Request) -> Exchange:
        return Exchange(request, metrics=self._metrics, gateway=self._gateway)

    async def _plan(
        self,
        exchange: Exchange,
        translate: Callable[[Mapping[str, Any]], Translated],
        *,
        task: str,
        names: Mapping[str, str],
    ) -> tuple[Translated, Plan]:
        """Read the body in OpenAI's words; `names` are theirs for our fields."""
        account = exchange.request.match_info.get("account", "")
        token = authenticated(exchange.request, self._auth, account=account)
        body, size = await self._bodies.json(exchange.request)
        said = translate(body)
        call = call_of(exchange, token, said.model, body=said.ours, bytes_in=size, task=task)
        try:
            plan = self._gateway.plan(call)
        except BadInput as error:
            raise in_their_words(error, names) from error
        exchange.planned(plan)
        return said, plan


def _dimensions(model: Model) -> int:
    """Return how long the model's vectors are, 0 where its listing does not tell."""
    told = model.listing.properties.get("output_dimensions")
    return int(told) if isinstance(told, int | float) else 0
