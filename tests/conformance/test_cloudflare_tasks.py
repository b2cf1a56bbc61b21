"""The official `cloudflare` SDK, unmodified, over tasks of texts, sound and bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cloudflare import Cloudflare

from tests.system.harness import ACCOUNT

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("up")]


def run(client: Cloudflare, task: str, **inputs: Any) -> Any:
    """Run the demo model of a task."""
    return client.ai.run(f"@cf/demo/{task}", account_id=ACCOUNT, **inputs)


def run_raw(client: Cloudflare, task: str, **inputs: Any) -> tuple[str, bytes]:
    """Run one whose answer is bytes, and return their type, too."""
    with client.ai.with_streaming_response.run(
        f"@cf/demo/{task}", account_id=ACCOUNT, **inputs
    ) as answer:
        return answer.headers["content-type"], answer.read()


def test_speech_is_written_down(cloudflare: Cloudflare) -> None:
    kind, speech = run_raw(cloudflare, "text-to-speech", prompt="hello world")

    heard = run(cloudflare, "automatic-speech-recognition", audio=list(speech))

    assert kind.startswith("audio/")
    assert heard["text"].lower() == "hello world"
    assert heard["word_count"] == 2


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


def test_bytes_pass_as_they_are(cloudflare: Cloudflare) -> None:
    body = {"anything": [1, 2, 3]}

    _, data = run_raw(cloudflare, "dumb-pipe", extra_body=body)

    assert json.loads(data)
