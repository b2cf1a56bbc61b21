"""OpenAI's API: chat completions and embeddings, with the account in the path or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from libs.common.catalog import Model
from libs.common.clock import Clock
from libs.common.errors import BadInput
from services.entry.auth import Auth
from services.entry.calls import Plan
from services.entry.fronts.bodies import to_json
from services.entry.fronts.exchange import Exchange
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
from services.entry.fronts.streaming import stream_answer
from services.entry.gateway import Gateway


class OpenAi:
    """The routes that run a model; the account is the token's."""

    def __init__(self, *, gateway: Gateway, auth: Auth, clock: Clock, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._auth = auth
        self._clock = clock
        self._max_body_bytes = max_body_bytes

    async def chat(self, account: str, exchange: Exchange) -> None:
        """Answer a conversation, whole or in chunks."""
        said, plan = self._plan(exchange, account, chat_body, task="text-generation", names={})
        created = self._clock.unix_ms() // 1000
        if plan.request.stream:
            frames = ChatFrames(
                request_id=exchange.request_id, plan=plan, translated=said, created=created
            )
            await stream_answer(exchange, self._gateway, plan, frames)
            return
        answer = await self._gateway.run(plan)
        number, model = exchange.request_id, plan.model.name
        said_back = completion(answer.result, request_id=number, model=model, created=created)
        exchange.answer(to_json(said_back))

    async def embed(self, account: str, exchange: Exchange) -> None:
        """Answer with the vectors of one or more texts."""
        names = {"text": "input"}
        said, plan = self._plan(
            exchange, account, embeddings_body, task="text-embeddings", names=names
        )
        check_dimensions(said, _dimensions(plan.model))
        answer = await self._gateway.run(plan)
        tokens = answer.outcome.usage.tokens_in
        model = plan.model.name
        exchange.answer(
            embeddings(answer.result, model=model, translated=said, prompt_tokens=tokens)
        )

    def _plan(
        self,
        exchange: Exchange,
        account: str,
        translate: Callable[[Mapping[str, Any]], Translated],
        *,
        task: str,
        names: Mapping[str, str],
    ) -> tuple[Translated, Plan]:
        """Read the body in OpenAI's words; `names` are theirs for our fields."""
        token = self._auth.caller(exchange.request.headers, account=account)
        said = translate(exchange.body(limit=self._max_body_bytes))
        call = exchange.call(token, said.model, said.ours, task=task)
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
