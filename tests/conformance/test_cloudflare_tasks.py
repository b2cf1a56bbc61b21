"""The official `cloudflare` SDK, unmodified, over every task: what one makes another one reads."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cloudflare import Cloudflare

from tests.system.harness import ACCOUNT

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("up")]
DRAWING = "a red circle"


def run(client: Cloudflare, task: str, **inputs: Any) -> Any:
    """Run the demo model of a task."""
    return client.ai.run(f"@cf/demo/{task}", account_id=ACCOUNT, **inputs)


def run_raw(client: Cloudflare, task: str, **inputs: Any) -> tuple[str, bytes]:
    """Run one whose answer is bytes, and return their type, too."""
    with client.ai.with_streaming_response.run(
        f"@cf/demo/{task}", account_id=ACCOUNT, **inputs
    ) as answer:
        return answer.headers["content-type"], answer.read()


@pytest.fixture(scope="module")
def picture(cloudflare: Cloudflare) -> bytes:
    return run_raw(cloudflare, "text-to-image", prompt=DRAWING)[1]


def test_a_picture_is_bytes(cloudflare: Cloudflare) -> None:
    kind, data = run_raw(cloudflare, "text-to-image", prompt=DRAWING)

    assert (kind, data[:4]) == ("image/png", b"\x89PNG")


def test_a_picture_is_base64(cloudflare: Cloudflare) -> None:
    answer = run(cloudflare, "text-to-image-base64", prompt=DRAWING)

    assert base64.b64decode(answer["image"])[:4] == b"\x89PNG"


def test_things_in_a_picture_are_found(cloudflare: Cloudflare, picture: bytes) -> None:
    found = run(cloudflare, "object-detection", image=list(picture))

    assert "circle" in found[0].label
    assert found[0].box.xmax > found[0].box.xmin


def test_a_picture_is_classified(cloudflare: Cloudflare, picture: bytes) -> None:
    found = run(cloudflare, "image-classification", image=list(picture))

    assert found[0].label
    assert 0 < found[0].score <= 1


def test_a_picture_is_described(cloudflare: Cloudflare, picture: bytes) -> None:
    answer = run(cloudflare, "image-to-text", image=list(picture))

    assert "circle" in answer["description"]


def test_a_picture_is_asked_about(cloudflare: Cloudflare, picture: bytes) -> None:
    uri = "data:image/png;base64," + base64.b64encode(picture).decode()

    answer = run(cloudflare, "image-text-to-text", image=uri, prompt="What is in the picture?")

    assert answer["description"]


def test_speech_is_written_down(cloudflare: Cloudflare) -> None:
    kind, speech = run_raw(cloudflare, "text-to-speech", prompt="hello world")

    heard = run(cloudflare, "automatic-speech-recognition", audio=list(speech))

    assert kind.startswith("audio/")
    assert heard["text"].lower() == "hello world"
    assert heard["word_count"] == 2


def test_speech_is_base64(cloudflare: Cloudflare) -> None:
    answer = run(cloudflare, "text-to-speech-base64", prompt="hello")

    assert base64.b64decode(answer["audio"])


def test_a_text_is_classified(cloudflare: Cloudflare) -> None:
    found = run(cloudflare, "text-classification", text="This is wonderful, I love it.")

    assert {each.label for each in found} == {"POSITIVE", "NEGATIVE"}
    assert max(found, key=lambda each: each.score).label == "POSITIVE"


def test_a_text_is_translated(cloudflare: Cloudflare) -> None:
    answer = run(cloudflare, "translation", text="the red house", target_lang="de")

    assert "haus" in answer["translated_text"].lower()


def test_a_text_is_summarized(cloudflare: Cloudflare) -> None:
    text = (
        "Cats sleep a lot. Cats like fish, and cats like milk. The weather was fine on Monday. " * 5
    )

    answer = run(cloudflare, "summarization", input_text=text, max_length=60)

    assert 0 < len(answer["summary"]) < len(text)


def test_texts_and_a_picture_are_embedded(cloudflare: Cloudflare, picture: bytes) -> None:
    image = base64.b64encode(picture).decode()

    answer = run(cloudflare, "multimodal-embeddings", text=["a red circle"], image=image)

    assert answer["shape"][0] == len(answer["data"]) == 2


def test_bytes_pass_as_they_are(cloudflare: Cloudflare) -> None:
    body = {"anything": [1, 2, 3]}

    _, data = run_raw(cloudflare, "dumb-pipe", extra_body=body)

    assert json.loads(data)
