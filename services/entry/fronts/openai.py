"""OpenAI's API: chat completions and embeddings, with the account in the path or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from libs.common.catalog import Model
from libs.common.clock import Clock
from services.entry.calls import Call, Plan
from services.entry.fronts import choices, embedding_parts
from services.entry.fronts.bodies import to_json
from services.entry.fronts.exchange import Exchange
from services.entry.fronts.openai_answers import chat_completion
from services.entry.fronts.openai_bodies import (
    Translated,
    chat_body,
    check_dimensions,
    embeddings,
    embeddings_body,
)
from services.entry.fronts.openai_calls import OpenAiCalls
from services.entry.fronts.openai_frames import CHAT, ChoiceFrames, Head, chat_wording
from services.entry.fronts.streaming import stream_answer

OURS: Final[Mapping[str, str]] = {}  # fields of a chat have their names here, too
TEXT: Final[Mapping[str, str]] = {"text": "input"}
CHATS: Final = ("text-generation", "image-text-to-text")
EMBEDDINGS: Final = ("text-embeddings",)
CHUNK: Final = "chat.completion.chunk"
NUMBER: Final = (int, float)  # kept: `int | float` would be made anew for each call


class OpenAi:
    """The routes that run a model and are asked most."""

    def __init__(self, *, calls: OpenAiCalls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock

    async def chat(self, account: str, exchange: Exchange) -> None:
        """Answer a conversation, whole or in chunks."""
        said, call = self._calls.read(exchange, account, chat_body, CHATS)
        plan = self._calls.plan(exchange, call, OURS)
        wants_more = said.theirs["n"] > 1 or said.theirs["stream"] != plan.request.stream
        if wants_more:  # than one answer, or a stream of what does not stream
            await self._choices(
                exchange, said, [plan, *self._calls.others(exchange, said, call, OURS)]
            )
            return
        number, created = exchange.request_id, self._clock.unix_ms() // 1000
        if plan.request.stream:
            head = Head("chatcmpl", CHUNK, number, created)
            frames = ChoiceFrames(head, CHAT, plan, said.includes_usage)
            await stream_answer(exchange, self._calls.gateway, plan, frames)
            return
        answer = await self._calls.gateway.run(plan)
        model = plan.model.name  # which may be another than was planned
        said_back = chat_completion(
            [answer.result], request_id=number, model=model, created=created
        )
        exchange.answer(to_json(said_back))

    async def embed(self, account: str, exchange: Exchange) -> None:
        """Answer with the vectors of one or more texts."""
        said, call = self._calls.read(exchange, account, embeddings_body, EMBEDDINGS)
        texts = said.ours["text"]
        if type(texts) is list and len(texts) > embedding_parts.AT_ONCE:
            await self._embed_all(exchange, said, call)
            return
        plan = self._calls.plan(exchange, call, TEXT)
        check_dimensions(said, _dimensions(plan.model))
        answer = await self._calls.gateway.run(plan)
        tokens = answer.outcome.usage.tokens_in
        model = plan.model.name
        exchange.answer(
            embeddings(answer.result, model=model, translated=said, prompt_tokens=tokens)
        )

    async def _embed_all(self, exchange: Exchange, said: Translated, call: Call) -> None:
        """Answer with the vectors of more texts than one call takes."""
        plans = embedding_parts.plans_of(self._calls, exchange, call, TEXT)
        check_dimensions(said, _dimensions(plans[0].model))
        result, tokens = await embedding_parts.vectors_of(self._calls.gateway, plans)
        model = plans[0].model.name
        exchange.answer(embeddings(result, model=model, translated=said, prompt_tokens=tokens))

    async def _choices(self, exchange: Exchange, said: Translated, plans: list[Plan]) -> None:
        """Answer with several choices, or with the stream of one that comes whole."""
        gateway = self._calls.gateway
        number, created = exchange.request_id, self._clock.unix_ms() // 1000
        if said.theirs["stream"]:
            head = Head("chatcmpl", CHUNK, number, created)
            frames = [
                ChoiceFrames(head, chat_wording(at), plan, False) for at, plan in enumerate(plans)
            ]
            await choices.stream_all(exchange, gateway, plans, frames, said.includes_usage)
            return
        results = await choices.run_all(gateway, plans)
        model = plans[0].model.name
        said_back = chat_completion(results, request_id=number, model=model, created=created)
        exchange.answer(to_json(said_back))


def _dimensions(model: Model) -> int:
    """Return how long the model's vectors are, 0 where its listing does not tell."""
    told = model.listing.properties.get("output_dimensions")
    return int(told) if isinstance(told, NUMBER) else 0
