"""What is done at OpenAI's paths, wired."""

from __future__ import annotations

from collections.abc import Mapping

from libs.common.clock import Clock
from services.entry.auth import Auth
from services.entry.fronts.hot import OpenAiWork
from services.entry.fronts.openai import OpenAi
from services.entry.fronts.openai_calls import OpenAiCalls
from services.entry.fronts.openai_completions import Completions
from services.entry.fronts.openai_media import Media
from services.entry.fronts.openai_responses import Responses
from services.entry.gateway import Gateway


def openai_work(
    *, gateway: Gateway, auth: Auth, clock: Clock, most_bytes: int, choices: int
) -> Mapping[str, OpenAiWork]:
    """Return what is done, by the path behind /v1/, for bodies that ask for so many `choices`."""
    calls = OpenAiCalls(
        gateway=gateway,
        auth=auth,
        max_body_bytes=most_bytes,
        max_choices=choices,
    )
    openai, media = OpenAi(calls=calls, clock=clock), Media(calls=calls, clock=clock)
    return {
        "chat/completions": openai.chat,
        "embeddings": openai.embed,
        "completions": Completions(calls=calls, clock=clock).complete,
        "responses": Responses(calls=calls, clock=clock).respond,
        "audio/speech": media.speak,
        "audio/transcriptions": media.transcribe,
        "audio/translations": media.translate,
        "images/generations": media.draw,
    }
