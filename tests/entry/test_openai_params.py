"""Every parameter of OpenAI's API works here, is ignored with a reason, or is refused."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import completion_create_params, embedding_create_params, image_generate_params
from openai.types.audio import speech_create_params, transcription_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from services.entry.fronts import openai_params
from services.entry.fronts.media_bodies import (
    IMAGE_SCHEMA,
    SPEECH_SCHEMA,
    TRANSCRIPTION_SCHEMA,
)
from services.entry.fronts.openai_bodies import CHAT_SCHEMA, COMPLETIONS_SCHEMA, EMBEDDINGS_SCHEMA
from services.entry.fronts.responses_bodies import SCHEMA as RESPONSES_SCHEMA
from services.entry.tasks.text_generation import SCHEMA as TEXT_SCHEMA
from tests.entry.fakes import TEXT, FakeServer, says
from tests.entry.openai_sdk import MESSAGES, sdk

DOCUMENT = Path(__file__).parents[2] / "docs" / "openai.md"
TYPES: Mapping[str, tuple[Any, Mapping[str, Any], Mapping[str, Any]]] = {
    "Chat completions": (
        chat_create_params.CompletionCreateParamsBase,
        CHAT_SCHEMA,
        openai_params.CHAT,
    ),
    "Completions": (
        completion_create_params.CompletionCreateParamsBase,
        COMPLETIONS_SCHEMA,
        openai_params.COMPLETIONS,
    ),
    "Responses": (
        response_create_params.ResponseCreateParamsBase,
        RESPONSES_SCHEMA,
        openai_params.RESPONSES,
    ),
    "Speech": (speech_create_params.SpeechCreateParams, SPEECH_SCHEMA, openai_params.SPEECH),
    "Transcripts": (
        transcription_create_params.TranscriptionCreateParamsBase,
        TRANSCRIPTION_SCHEMA,
        openai_params.TRANSCRIPTIONS,
    ),
    "Pictures": (image_generate_params.ImageGenerateParamsBase, IMAGE_SCHEMA, openai_params.IMAGES),
    "Embeddings": (embedding_create_params.EmbeddingCreateParams, EMBEDDINGS_SCHEMA, {}),
}


def parameters(of: Any) -> set[str]:
    return {name for cls in of.__mro__ for name in getattr(cls, "__annotations__", {})}


@pytest.mark.parametrize(("of", "schema", "refused"), TYPES.values(), ids=TYPES.keys())
def test_every_parameter_of_the_sdk_is_known(
    of: Any, schema: Mapping[str, Any], refused: Mapping[str, Any]
) -> None:
    works = {*schema["properties"], *TEXT_SCHEMA["properties"]}

    ignored = {*openai_params.IGNORED, *openai_params.OF_RESPONSES, *openai_params.OF_MEDIA, "file"}

    assert parameters(of) - works - ignored - set(refused) == set()


@pytest.mark.parametrize("heading", TYPES)
def test_every_parameter_of_the_sdk_is_in_the_documents(heading: str) -> None:
    document = DOCUMENT.read_text()
    ignored = section(document, "What is ignored")
    told = re.findall(r"`(\w+)`", section(document, heading) + ignored)

    assert parameters(TYPES[heading][0]) - set(told) == set()


def section(document: str, heading: str) -> str:
    rows = document.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].splitlines()
    return "\n".join(row.split("|")[1] for row in rows if row.startswith("|"))


REFUSED: dict[str, Any] = {
    "audio": {"format": "wav", "voice": "alloy"},
    "function_call": "auto",
    "functions": [{"name": "f"}],
    "logit_bias": {"1": 5},
    "logprobs": True,
    "modalities": ["text", "audio"],
    "moderation": {"model": "m"},
    "top_logprobs": 2,
    "web_search_options": {},
}
HARMLESS: dict[str, Any] = {
    "functions": [],
    "logit_bias": {},
    "logprobs": False,
    "metadata": {"a": "b"},
    "modalities": ["text"],
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_key": "k",
    "reasoning_effort": "low",
    "safety_identifier": "s",
    "service_tier": "flex",
    "store": True,
    "top_logprobs": 0,
    "user": "u",
    "verbosity": "low",
}


def test_every_refusal_is_tried() -> None:
    assert REFUSED.keys() == openai_params.CHAT.keys()


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_had_is_refused_by_its_name(name: str) -> None:
    server = FakeServer()
    body: Any = {"model": TEXT, "messages": MESSAGES, "extra_body": {name: REFUSED[name]}}
    async with sdk(server) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(**body)

    assert refused.value.param == name
    assert not server.requests


async def test_what_changes_nothing_is_ignored() -> None:
    plain, server = FakeServer(says("ho")), FakeServer(says("ho"))
    async with sdk(plain) as client:
        await client.chat.completions.create(model=TEXT, messages=MESSAGES)
    async with sdk(server) as client:
        await client.chat.completions.create(model=TEXT, messages=MESSAGES, extra_body=HARMLESS)

    assert plain.requests[0].payload == server.requests[0].payload
