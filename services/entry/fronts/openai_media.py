"""OpenAI's routes about sound and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from libs.common.clock import Clock
from services.entry.fronts import choices
from services.entry.fronts.bodies import to_json
from services.entry.fronts.exchange import Exchange
from services.entry.fronts.media_answers import file_in, images, transcript
from services.entry.fronts.media_bodies import (
    OF_IMAGES,
    OF_SPEECH,
    OF_TRANSCRIPTIONS,
    TRANSCRIPTION_SCHEMA,
    image_body,
    speech_body,
    transcription_body,
    translation_body,
)
from services.entry.fronts.openai_bodies import Translated
from services.entry.fronts.openai_calls import OpenAiCalls

SPEECH: Final = ("text-to-speech",)
RECOGNITION: Final = ("automatic-speech-recognition",)
IMAGES: Final = ("text-to-image",)
Translate = Callable[[Mapping[str, Any]], Translated]


class Media:
    """The routes that speak, listen and draw."""

    def __init__(self, *, calls: OpenAiCalls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock

    async def speak(self, account: str, exchange: Exchange) -> None:
        """Answer with a text, spoken."""
        _, call = self._calls.read(exchange, account, speech_body, SPEECH)
        plan = self._calls.plan(exchange, call, OF_SPEECH)
        answer = await self._calls.gateway.run(plan)
        exchange.answer_binary(file_in(answer.result, "audio"))

    async def transcribe(self, account: str, exchange: Exchange) -> None:
        """Answer with what was said."""
        await self._listen(account, exchange, transcription_body, "transcribe")

    async def translate(self, account: str, exchange: Exchange) -> None:
        """Answer with what was said, in English."""
        await self._listen(account, exchange, translation_body, "translate")

    async def draw(self, account: str, exchange: Exchange) -> None:
        """Answer with one picture or several."""
        said, call = self._calls.read(exchange, account, image_body, IMAGES)
        plan = self._calls.plan(exchange, call, OF_IMAGES)
        plans = [plan, *self._calls.others(exchange, said, call, OF_IMAGES)]
        results = await choices.run_all(self._calls.gateway, plans)
        created, as_url = self._clock.unix_ms() // 1000, said.theirs["response_format"] == "url"
        exchange.answer(to_json(images(results, created=created, as_url=as_url)))

    async def _listen(
        self, account: str, exchange: Exchange, translate: Translate, task: str
    ) -> None:
        form = TRANSCRIPTION_SCHEMA["properties"]
        said, call = self._calls.read(exchange, account, translate, RECOGNITION, form)
        plan = self._calls.plan(exchange, call, OF_TRANSCRIPTIONS)
        answer = await self._calls.gateway.run(plan)
        exchange.answer_binary(transcript(answer.result, said.theirs["response_format"], task))
