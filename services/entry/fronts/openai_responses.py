"""OpenAI's responses: one turn of a conversation, of which nothing is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from libs.common.clock import Clock
from libs.common.errors import BadInput
from services.entry.fronts import choices
from services.entry.fronts.bodies import to_json
from services.entry.fronts.exchange import Exchange
from services.entry.fronts.openai_calls import OpenAiCalls
from services.entry.fronts.responses_answers import Response
from services.entry.fronts.responses_bodies import Asked
from services.entry.fronts.responses_frames import ResponseFrames
from services.entry.fronts.streaming import shown_as, streamed
from services.entry.limits import longest_stream_s

TASKS: Final = ("text-generation", "image-text-to-text")
AS_THEY_ARE: Final[Mapping[str, str]] = {}  # names are told by what was asked


class Responses:
    """The route that makes a response."""

    def __init__(self, *, calls: OpenAiCalls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock

    async def respond(self, account: str, exchange: Exchange) -> None:
        """Answer with a response, whole or event by event."""
        asked, gateway = Asked(), self._calls.gateway
        said, call = self._calls.read(exchange, account, asked.translate, TASKS)
        try:
            plan = self._calls.plan(exchange, call, AS_THEY_ARE)
        except BadInput as error:
            raise asked.in_their_words(error) from error
        created = self._clock.unix_ms() // 1000
        response = Response(said, plan, exchange.request_id, created)
        if said.theirs["stream"]:
            frames = ResponseFrames(response)
            work = choices.stream_of(gateway, plan, shown_as(exchange, frames))
            await streamed(exchange, work, longest_stream_s(plan.model.timeouts), frames.broken)
            return
        answer = await gateway.run(plan)
        response.add(answer.result)
        reason = answer.result.get("finish_reason", "stop")
        exchange.answer(to_json(response.ended(reason, answer.result["usage"])))
