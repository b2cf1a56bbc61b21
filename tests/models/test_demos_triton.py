"""The demo models in a real Triton: the tensors of docs/models.md in and out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import numpy as np
import pytest
import pytest_asyncio

from services.node.drivers.triton import TritonDriver
from services.node.ports import InstanceSpec
from tests.models.triton_calls import Value, infer

# One Triton and one event loop for all tests of this module.
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("demos"),
]

MODELS = Path(__file__).parents[2] / "models"
PROMPT = "two red circles and a blue square on a yellow background"


class Demos:
    """A Triton that loads a model when it is asked for it."""

    def __init__(self, driver: TritonDriver) -> None:
        self._driver = driver

    async def infer(self, model: str, inputs: dict[str, Value]) -> dict[str, object]:
        spec = InstanceSpec(
            id=f"ams-1/{model}/0", model=model, served_as=model, repository=MODELS / model
        )
        return await infer((await self._driver.start(spec)).address, model, inputs)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demos(
    triton_environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Demos]:
    """The models."""
    folder = tmp_path_factory.mktemp("triton")
    async with TritonDriver(folder=folder, environment=triton_environment) as driver:
        yield Demos(driver)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def image(demos: Demos) -> bytes:
    """A picture of the prompt."""
    answer = await demos.infer("text_to_image", {"prompt": PROMPT, "seed": one(7, np.int64)})
    (data,) = answer["image"]
    return data


def one(value: float, dtype: type[np.generic]) -> np.ndarray:
    return np.array([value], dtype)


async def test_a_picture_has_the_size_that_was_asked_for(demos: Demos) -> None:
    size = {"width": one(300, np.int32), "height": one(256, np.int32)}
    answer = await demos.infer("text_to_image_base64", {"prompt": PROMPT, **size})

    (data,) = answer["image"]
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (300, 256)


async def test_the_shapes_of_a_picture_are_found(demos: Demos, image: bytes) -> None:
    answer = await demos.infer("object_detection", {"image": image})

    assert sorted(answer["label"]) == [b"blue square", b"red circle", b"red circle"]
    assert answer["score"].shape == (3,)
    assert answer["box"].shape == (3, 4)
    assert (answer["box"] <= 512).all()


async def test_nothing_in_a_picture_is_an_empty_answer(demos: Demos) -> None:
    blank = await demos.infer("text_to_image", {"prompt": "zero red circles"})
    answer = await demos.infer("object_detection", {"image": blank["image"][0]})

    assert answer["label"] == []
    assert answer["box"].shape == (0, 4)


async def test_a_picture_is_labelled(demos: Demos, image: bytes) -> None:
    answer = await demos.infer("image_classification", {"image": image})

    assert answer["label"] == [b"red circle", b"blue square"]
    assert answer["score"].sum() == pytest.approx(1)


async def test_a_picture_is_described(demos: Demos, image: bytes) -> None:
    answer = await demos.infer("image_to_text", {"image": image})

    assert answer["text"] == [b"Two red circles and a blue square on a yellow background."]


async def test_a_question_about_a_picture_is_answered(demos: Demos, image: bytes) -> None:
    question = {"prompt": "How many red circles?", "sampling_parameters": '{"max_tokens": 20}'}
    answer = await demos.infer("image_text_to_text", {"image": image, **question})

    assert answer["text"] == [b"Two."]


async def test_texts_and_their_picture_are_near(demos: Demos, image: bytes) -> None:
    texts = [PROMPT, "a green star"]
    answer = await demos.infer("multimodal_embeddings", {"text": texts, "image": image})

    vectors = answer["embedding"]
    assert vectors.shape == (3, 128)
    assert vectors[0] @ vectors[2] > 0.9
    assert vectors[1] @ vectors[2] < 0.1


async def test_speech_is_recognized(demos: Demos) -> None:
    said = await demos.infer(
        "text_to_speech", {"text": "Hello world", "sample_rate": one(8000, np.int32)}
    )
    answer = await demos.infer("automatic_speech_recognition", {"audio": said["audio"][0]})

    assert answer["text"] == [b"Hello world"]
    assert answer["words"] == [b"Hello", b"world"]
    assert answer["word_times"].shape == (2, 2)
    assert answer["duration"][0] == pytest.approx(0.64, abs=0.01)


async def test_sentiment_is_told(demos: Demos) -> None:
    answer = await demos.infer("text_classification", {"text": "What a wonderful day!"})

    assert answer["label"] == [b"NEGATIVE", b"POSITIVE"]
    assert answer["score"][1] > 0.8
    assert answer["num_tokens"].tolist() == [4]


async def test_contexts_are_ranked(demos: Demos) -> None:
    asked: dict[str, Value] = {
        "query": "the capital of France",
        "contexts": ["Cats purr.", "Paris is the capital of France."],
    }
    answer = await demos.infer("text_classification", asked)

    assert answer["score"][1] > answer["score"][0]
    assert "label" not in answer


async def test_a_text_is_translated(demos: Demos) -> None:
    asked = {"text": "The cat sleeps.", "source_lang": "en", "target_lang": "french"}
    answer = await demos.infer("translation", asked)

    assert answer["translated_text"] == [b"Le chat dort."]


async def test_a_text_is_summarized(demos: Demos) -> None:
    asked: dict[str, Value] = {
        "input_text": "Cats purr. Cats and dogs are pets. It rained.",
        "max_length": one(20, np.int32),
    }
    answer = await demos.infer("summarization", asked)

    assert answer["summary"] == [b"Cats purr."]


async def test_bytes_come_back(demos: Demos) -> None:
    asked: dict[str, Value] = {"body": b"\0\xff{", "content_type": "application/x-own"}
    answer = await demos.infer("dumb_pipe", asked)

    assert answer["body"] == [b"\0\xff{"]
    assert answer["content_type"] == [b"application/x-own"]


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        ("object_detection", {"image": b"no picture"}, "image: a whole picture"),
        ("automatic_speech_recognition", {"audio": b"ID3"}, "audio: a WAV file is wanted"),
        ("translation", {"text": "a", "target_lang": "xx"}, "target_lang: one of en (english)"),
        ("multimodal_embeddings", {}, "text: at least one text"),
    ],
    ids=["picture", "sound", "language", "nothing"],
)
async def test_bad_input_is_refused(
    demos: Demos, model: str, inputs: dict[str, Value], message: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await demos.infer(model, inputs)

    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in (refusal.value.details() or "")
