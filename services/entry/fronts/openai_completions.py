"""OpenAI's completions: texts that go on, without a chat template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from libs.common.clock import Clock
from services.entry.fronts import choices
from services.entry.fronts.bodies import to_json
from services.entry.fronts.exchange import Exchange
from services.entry.fronts.openai_answers import text_completion
from services.entry.fronts.openai_bodies import completion_body
from services.entry.fronts.openai_calls import OpenAiCalls
from services.entry.fronts.openai_frames import ChoiceFrames, Head, text_wording

TASKS: Final = ("text-generation",)
OURS: Final[Mapping[str, str]] = {}


class Completions:
    """The route that continues one prompt or several."""

    def __init__(self, *, calls: OpenAiCalls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock

    async def complete(self, account: str, exchange: Exchange) -> None:
        """Answer with what comes after each prompt, whole or in chunks."""
        said, call = self._calls.read(exchange, account, completion_body, TASKS)
        plan = self._calls.plan(exchange, call, OURS)
        plans = [plan, *self._calls.others(exchange, said, call, OURS)]
        gateway = self._calls.gateway
        number, created = exchange.request_id, self._clock.unix_ms() // 1000
        if said.theirs["stream"]:
            head = Head("cmpl", "text_completion", number, created)
            frames = [
                ChoiceFrames(head, text_wording(at), plan, False) for at, plan in enumerate(plans)
            ]
            await choices.stream_all(exchange, gateway, plans, frames, said.includes_usage)
            return
        results = await choices.run_all(gateway, plans)
        model = plans[0].model.name
        said_back = text_completion(results, request_id=number, model=model, created=created)
        exchange.answer(to_json(said_back))
