"""`workers-ai-provider` and the AI SDK from npm, unmodified, against a running system."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import ACCOUNT, TOKEN, Up

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("up")]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def answers(up: Up) -> dict[str, Any]:
    """What each of the script's cases got, by its name."""
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules").is_dir():
        pytest.skip("no Node, or not its packages: `make tools` installs them where there is npm")
    command = [node, "workers_ai_provider.mjs", up.client.base, ACCOUNT, TOKEN]
    ran = subprocess.run(command, cwd=HERE, capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_text_is_generated(answers: dict[str, Any]) -> None:
    generated = answers["generateText"]

    assert "Paris" in generated["text"]
    assert generated["finishReason"] == "stop"
    assert generated["usage"]["inputTokens"] > generated["usage"]["outputTokens"] > 5


def test_a_stream_says_the_same(answers: dict[str, Any]) -> None:
    generated, streamed = answers["generateText"], answers["streamText"]

    assert len(streamed["parts"]) > 5
    assert "".join(streamed["parts"]) == generated["text"]
    assert streamed["finishReason"] == "stop"
    assert streamed["usage"]["outputTokens"] == generated["usage"]["outputTokens"]


def test_an_object_is_generated(answers: dict[str, Any]) -> None:
    assert answers["object"]["city"] in ("Oslo", "Paris")
    assert isinstance(answers["object"]["sunny"], bool)


def test_a_tool_is_called(answers: dict[str, Any]) -> None:
    called = answers["toolCall"]

    assert (called["toolName"], called["finishReason"]) == ("weather", "tool-calls")
    assert called["input"]["city"] in ("Oslo", "Paris")


def test_a_tool_is_called_in_a_stream(answers: dict[str, Any]) -> None:
    called = answers["streamedToolCall"]

    assert (called["count"], called["finishReason"]) == (1, "tool-calls")
    assert called["input"]["city"] in ("Oslo", "Paris")


def test_what_a_tool_said_goes_on_to_the_model(answers: dict[str, Any]) -> None:
    (said,) = answers["toolLoop"]["results"]

    assert said.startswith("It rains in ")
    assert answers["toolLoop"]["steps"] == 2
    assert answers["toolLoop"]["text"]


def test_options_come_in_the_query(answers: dict[str, Any]) -> None:
    assert answers["options"]["text"] == answers["generateText"]["text"]


def test_texts_are_embedded(answers: dict[str, Any]) -> None:
    assert answers["embed"] == [384, 384]


@pytest.mark.parametrize(
    ("case", "status", "code"),
    [("unknownModel", 400, 5007), ("wrongToken", 401, 10000), ("badInput", 400, 5006)],
)
def test_errors_are_told_with_status_and_code(
    answers: dict[str, Any], case: str, status: int, code: int
) -> None:
    assert answers[case] == {"status": status, "code": code, "isRetryable": False}
