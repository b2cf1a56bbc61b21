"""Pictures in conversations, and OpenAI's routes about sound and pictures, by the official SDK."""

from __future__ import annotations

import base64
import io
from typing import Any

import openai
import pytest

from libs.common import wire
from libs.common.pb import kserve_pb2 as kserve
from services.entry.fronts import openai_params
from tests.entry.fakes import TEXT, FakeServer, says
from tests.entry.openai_sdk import sdk
from tests.entry.tasks_at_work import PNG, WAV, answer
from tests.entry.test_task_routes import world

URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
SPEAKS, HEARS = "@cf/test/text-to-speech", "@cf/test/automatic-speech-recognition"
DRAWS, SEES = "@cf/test/text-to-image", "@cf/test/image-text-to-text"
TIMES = [[0.0, 0.5], [0.5, 1.25], [3.0, 3.5]]
HEARD = answer(text=["hello world. bye"], words=["hello", "world.", "bye"], word_times=TIMES)


def seen(url: str = URI) -> Any:
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    return [{"role": "user", "content": parts}]


def sent(server: FakeServer) -> dict[str, Any]:
    """What the model was sent last, texts as bytes."""
    message = kserve.ModelInferRequest.FromString(server.requests[-1].payload)
    pairs = zip(message.inputs, message.raw_input_contents, strict=True)
    made = [wire.Tensor(i.name, i.datatype, tuple(i.shape), raw) for i, raw in pairs]
    return {
        each.name: each.texts() if each.datatype == "BYTES" else each.array().tolist()
        for each in made
    }


# --- pictures in conversations ---


async def test_a_chat_about_a_picture() -> None:
    server = FakeServer(answer(text=["a cat"]))
    async with sdk(server, world=world()) as client:
        told = await client.chat.completions.create(model=SEES, messages=seen(), max_tokens=9)

    assert told.choices[0].message.content == "a cat"
    assert told.choices[0].finish_reason == "stop"
    assert told.usage
    assert sent(server)["image"] == [PNG]
    assert b"What is it?" in sent(server)["prompt"][0]


async def test_a_streamed_chat_about_a_picture_comes_in_one_piece() -> None:
    async with sdk(FakeServer(answer(text=["a cat"])), world=world()) as client:
        stream = await client.chat.completions.create(
            model=SEES, messages=seen(), stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "a cat"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage


async def test_a_response_about_a_picture() -> None:
    parts = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": URI, "detail": "auto"},
    ]
    asked: Any = {"model": SEES, "input": [{"role": "user", "content": parts}]}
    server = FakeServer(answer(text=["a cat"]))
    async with sdk(server, world=world()) as client:
        whole = await client.responses.create(**asked)
        stream = await client.responses.create(stream=True, **asked)
        events: list[Any] = [event async for event in stream]

    assert whole.output_text == events[-1].response.output_text == "a cat"
    assert sent(server)["image"] == [PNG]


PICTURES: dict[str, tuple[dict[str, Any], str, str]] = {
    "none": ({"messages": [{"role": "user", "content": "hi"}]}, "image", "expected one picture"),
    "an address": (
        {"messages": seen("https://example.com/a.png")},
        "messages.0.content.1.image_url.url",
        "base64",
    ),
    "a model that reads": ({"model": TEXT}, "messages.0.content.1", "text alone"),
    "a model that draws": ({"model": DRAWS}, "model", "does text-to-image"),
}


@pytest.mark.parametrize(("change", "param", "words"), PICTURES.values(), ids=PICTURES.keys())
async def test_a_bad_picture_is_refused(change: dict[str, Any], param: str, words: str) -> None:
    async with sdk(FakeServer(says("no")), world=world()) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(**({"model": SEES, "messages": seen()} | change))

    assert refused.value.param == param
    assert words in refused.value.message


# --- speech ---


async def test_a_text_is_spoken() -> None:
    server = FakeServer(answer(audio=[WAV]))
    async with sdk(server, world=world()) as client:
        spoken = await client.audio.speech.create(
            model=SPEAKS, input="hello", voice="alloy", response_format="wav", speed=1
        )

    assert spoken.content == WAV
    assert spoken.response.headers["content-type"].startswith("audio/")
    assert sent(server) == {
        "text": [b"hello"],
        "speaker": [b"alloy"],
        "encoding": [b"linear16"],
        "container": [b"wav"],
    }


async def test_speech_is_read_as_it_comes() -> None:
    async with sdk(FakeServer(answer(audio=[WAV])), world=world()) as client:
        asked = client.audio.speech.with_streaming_response.create(
            model=SPEAKS, input="hello", voice="alloy"
        )
        async with asked as spoken:
            pieces = [piece async for piece in spoken.iter_bytes()]

    assert b"".join(pieces) == WAV


# --- transcripts ---


async def heard(server: FakeServer, **asked: Any) -> Any:
    async with sdk(server, world=world()) as client:
        file = ("a.wav", io.BytesIO(WAV))
        return await client.audio.transcriptions.create(model=HEARS, file=file, **asked)


async def test_a_transcript() -> None:
    server = FakeServer(HEARD)

    told = await heard(server, language="en", prompt="greetings", temperature=0)

    assert told.text == "hello world. bye"
    tensors = sent(server)
    assert (tensors["audio"], tensors["language"]) == ([WAV], [b"en"])
    assert tensors["initial_prompt"] == [b"greetings"]


async def test_a_transcript_with_all_that_is_known() -> None:
    told = await heard(
        FakeServer(HEARD),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )

    assert [word.word for word in told.words] == ["hello", "world.", "bye"]
    assert [(each.text, each.start, each.end) for each in told.segments] == [
        ("hello world.", 0.0, 1.25),
        ("bye", 3.0, 3.5),
    ]
    assert told.duration == 3.5


SUBTITLES = {
    "text": "hello world. bye\n",
    "srt": "1\n00:00:00,000 --> 00:00:01,250\nhello world.\n\n"
    "2\n00:00:03,000 --> 00:00:03,500\nbye\n",
    "vtt": "WEBVTT\n\n00:00.000 --> 00:01.250\nhello world.\n\n00:03.000 --> 00:03.500\nbye\n",
}


@pytest.mark.parametrize("form", SUBTITLES)
async def test_a_transcript_as_text(form: Any) -> None:
    assert await heard(FakeServer(HEARD), response_format=form) == SUBTITLES[form]


async def test_subtitles_need_times() -> None:
    with pytest.raises(openai.BadRequestError, match="when words were said") as refused:
        await heard(FakeServer(answer(text=["hello"])), response_format="srt")

    assert refused.value.param == "response_format"


async def test_a_translation() -> None:
    server = FakeServer(answer(text=["hello"]))
    async with sdk(server, world=world()) as client:
        with pytest.warns(DeprecationWarning, match="deprecated"):  # the SDK's own
            told = await client.audio.translations.create(model=HEARS, file=("a.wav", WAV))

    assert told.text == "hello"
    assert sent(server)["task"] == [b"translate"]


# --- pictures ---


async def test_a_picture_is_drawn() -> None:
    server = FakeServer(answer(image=[PNG]))
    async with sdk(server, world=world()) as client:
        drawn = await client.images.generate(
            model=DRAWS, prompt="a cat", size="512x256", quality="high", user="u"
        )

    assert drawn.data
    assert base64.b64decode(drawn.data[0].b64_json or "") == PNG
    assert drawn.created > 1_600_000_000
    assert (sent(server)["width"], sent(server)["height"]) == ([512], [256])


@pytest.mark.parametrize("model", [DRAWS, "@cf/test/in-base64"])
async def test_several_pictures_as_addresses_that_hold_them(model: str) -> None:
    server = FakeServer(answer(image=[PNG]))
    async with sdk(server, world=world()) as client:
        drawn = await client.images.generate(
            model=model, prompt="a", n=3, response_format="url", extra_body={"seed": 5}
        )

    assert [each.url for each in drawn.data or []] == [URI] * 3
    assert len(server.requests) == 3
    assert sent(server)["seed"] == [7]


# --- refusals ---

SPEECH_REFUSED: dict[str, Any] = {"instructions": "sadly", "speed": 2, "stream_format": "sse"}
HEARING_REFUSED: dict[str, Any] = {
    "include": ["logprobs"],
    "keywords": ["a"],
    "known_speaker_names": ["a"],
    "known_speaker_references": ["a"],
    "languages": ["en"],
    "stream": True,
    "temperature": 0.5,
}
DRAWING_REFUSED: dict[str, Any] = {
    "background": "transparent",
    "complexity": "high",
    "frame_count": 5,
    "frame_duration_ms": 10,
    "output_compression": 50,
    "output_format": "webp",
    "partial_images": 2,
    "stream": True,
    "svg": {"a": 1},
}


def test_every_refusal_is_tried() -> None:
    assert SPEECH_REFUSED.keys() == openai_params.SPEECH.keys()
    assert HEARING_REFUSED.keys() == openai_params.TRANSCRIPTIONS.keys()
    assert DRAWING_REFUSED.keys() == openai_params.IMAGES.keys()


@pytest.mark.parametrize("name", SPEECH_REFUSED)
async def test_speech_refuses_by_name(name: str) -> None:
    body: Any = {"model": SPEAKS, "input": "a", "voice": "b"}
    async with sdk(FakeServer(), world=world()) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.audio.speech.create(**body, extra_body={name: SPEECH_REFUSED[name]})

    assert refused.value.param == name


@pytest.mark.parametrize("name", HEARING_REFUSED)
async def test_hearing_refuses_by_name(name: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await heard(FakeServer(), extra_body={name: HEARING_REFUSED[name]})

    assert refused.value.param == name


@pytest.mark.parametrize("name", DRAWING_REFUSED)
async def test_drawing_refuses_by_name(name: str) -> None:
    async with sdk(FakeServer(), world=world()) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.images.generate(
                model=DRAWS, prompt="a", extra_body={name: DRAWING_REFUSED[name]}
            )

    assert refused.value.param == name


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "no text": ("audio/speech", {"model": SPEAKS}, "input"),
    "a long text": ("audio/speech", {"model": SPEAKS, "input": "a" * 10_001}, "input"),
    "a long voice": ("audio/speech", {"model": SPEAKS, "input": "a", "voice": "b" * 65}, "voice"),
    "a voice of nobody": ("audio/speech", {"model": SPEAKS, "input": "a", "voice": {}}, "voice.id"),
    "no file": ("audio/transcriptions", {"model": HEARS}, "file"),
    "no base64": ("audio/transcriptions", {"model": HEARS, "file": "?"}, "file"),
    "a size": ("images/generations", {"model": DRAWS, "prompt": "a", "size": "big"}, "size"),
    "a small size": ("images/generations", {"model": DRAWS, "prompt": "a", "size": "8x8"}, "size"),
    "many": ("images/generations", {"model": DRAWS, "prompt": "a", "n": 99}, "n"),
    "a model that speaks": ("images/generations", {"model": SPEAKS, "prompt": "a"}, "model"),
}


@pytest.mark.parametrize(("path", "body", "param"), BAD.values(), ids=BAD.keys())
async def test_a_bad_field_is_named(path: str, body: dict[str, Any], param: str) -> None:
    async with sdk(FakeServer(), world=world()) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.post(f"/{path}", body=body, cast_to=object)

    assert refused.value.param == param
