"""Sound and pictures by the official `openai` SDK, unmodified, against a running system."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.system.harness import ACCOUNT, TOKEN, Up

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("up")]
SPEAKS, HEARS = "@cf/demo/text-to-speech", "@cf/demo/automatic-speech-recognition"
DRAWS, SEES = "@cf/demo/text-to-image", "@cf/demo/image-text-to-text"


@pytest.fixture
def client(up: Up) -> Iterator[OpenAI]:
    base = f"{up.client.base}/client/v4/accounts/{ACCOUNT}/ai/v1"
    with OpenAI(base_url=base, api_key=TOKEN, max_retries=5) as made:
        yield made


def about(picture: bytes) -> Any:
    url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    parts = [
        {"type": "text", "text": "What is in it?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    return [{"role": "user", "content": parts}]


@pytest.mark.parametrize("model", [SPEAKS, f"{SPEAKS}-base64"])
def test_what_is_spoken_is_understood(client: OpenAI, model: str) -> None:
    spoken = client.audio.speech.create(
        model=model, input="hello world", voice="alloy", response_format="wav"
    )
    heard = client.audio.transcriptions.create(
        model=HEARS, file=("a.wav", io.BytesIO(spoken.content))
    )

    assert spoken.content[:4] == b"RIFF"
    assert spoken.response.headers["content-type"].startswith("audio/")
    assert heard.text.lower().strip() == "hello world"


def test_a_transcript_has_times(client: OpenAI) -> None:
    spoken = client.audio.speech.create(model=SPEAKS, input="one two", voice="a")
    file = ("a.wav", spoken.content)

    whole = client.audio.transcriptions.create(
        model=HEARS,
        file=file,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    subtitles: Any = client.audio.transcriptions.create(
        model=HEARS, file=file, response_format="srt"
    )

    assert [word.word.lower() for word in whole.words or []] == ["one", "two"]
    assert whole.duration > 0
    assert subtitles.startswith("1\n00:00:0")


@pytest.mark.parametrize("model", [DRAWS, f"{DRAWS}-base64"])
def test_what_is_drawn_is_seen(client: OpenAI, model: str) -> None:
    drawn = client.images.generate(model=model, prompt="a red circle", size="256x256")
    picture = base64.b64decode(drawn.data[0].b64_json)

    seen = client.chat.completions.create(model=SEES, messages=about(picture))
    chunks = list(client.chat.completions.create(model=SEES, messages=about(picture), stream=True))

    text = seen.choices[0].message.content
    assert "red circle" in text.lower()
    assert "".join(each.choices[0].delta.content or "" for each in chunks) == text


def test_several_pictures_at_once(client: OpenAI) -> None:
    drawn = client.images.generate(
        model=DRAWS, prompt="a blue star", n=2, size="256x256", response_format="url"
    )

    assert [each.url.partition(",")[0] for each in drawn.data] == ["data:image/png;base64"] * 2


def test_a_response_about_a_picture(client: OpenAI) -> None:
    drawn = client.images.generate(
        model=DRAWS, prompt="a red circle", size="256x256", response_format="url"
    )
    parts = [
        {"type": "input_text", "text": "What is in it?"},
        {"type": "input_image", "image_url": drawn.data[0].url, "detail": "auto"},
    ]

    asked: Any = [{"role": "user", "content": parts}]
    answer = client.responses.create(model=SEES, input=asked)

    assert "red circle" in answer.output_text.lower()
