"""Every form of a body, from HTTP and gRPC to real models: the same answer, whichever it was."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from libs.common.pb import binding_pb2 as pb
from libs.common.pb.binding_pb2_grpc import BindingServiceStub
from tests.system.harness import ACCOUNT, TOKEN, Up

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("up")]

DEMO = "@cf/demo/"
PROMPT = {"prompt": "two red circles and a blue square on a yellow background", "seed": 7}
SPEECH = "the cat sat on the mat"


class Models:
    """The demo models of an `up`."""

    def __init__(self, up: Up) -> None:
        self._up = up
        self.picture = self.post("text-to-image", json=PROMPT).content
        self.sound = self.post("text-to-speech", json={"text": SPEECH}).content

    def post(self, model: str, **body: Any) -> Any:
        url = f"{self._up.client.account}/ai/run/{DEMO}{model}"
        answer = self._up.client.http.post(url, **body)
        assert answer.status_code == 200, answer.text
        return answer

    def result(self, model: str, **body: Any) -> Any:
        return self.post(model, **body).json()["result"]

    def bound(self, model: str, body: bytes, content_type: str) -> pb.RunResponse:
        """Run a model through a service binding."""
        request = pb.RunRequest(
            account=ACCOUNT, model=DEMO + model, body=body, content_type=content_type
        )
        metadata = [("authorization", f"Bearer {TOKEN}")]
        with grpc.insecure_channel(f"127.0.0.1:{self._up.grpc}") as channel:
            answer: pb.RunResponse = BindingServiceStub(channel).Run(
                request, metadata=metadata, timeout=30
            )
        return answer


@pytest.fixture(scope="module")
def models(up: Up) -> Models:
    return Models(up)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


Form = Callable[[str, bytes], dict[str, Any]]
FORMS: dict[str, Form] = {
    "octets": lambda field, data: {
        "content": data,
        "headers": {"Content-Type": "application/octet-stream"},
    },
    "integers": lambda field, data: {"json": {field: list(data)}},
    "base64": lambda field, data: {"json": {field: b64(data)}},
    "a data URI": lambda field, data: {"json": {field: f"data:a/b;base64,{b64(data)}"}},
    "a form": lambda field, data: {"data": {field: b64(data)}},
    "multipart": lambda field, data: {"files": {field: ("file", data)}},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_picture_is_seen_however_it_was_sent(models: Models, form: Form) -> None:
    body = form("image", models.picture)

    found = models.result("object-detection", **body)
    shown = models.result("image-classification", **form("image", models.picture))
    told = models.result("image-to-text", **form("image", models.picture))

    assert sorted(each["label"] for each in found) == ["blue square", "red circle", "red circle"]
    assert shown[0]["score"] >= shown[-1]["score"]
    assert "red" in told["description"]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_speech_is_understood_however_it_was_sent(models: Models, form: Form) -> None:
    heard = models.result("automatic-speech-recognition", **form("audio", models.sound))

    assert heard["text"].lower().rstrip(".") == SPEECH
    assert heard["word_count"] == len(heard["words"]) == 6
    assert heard["vtt"].startswith("WEBVTT\n\n00:00.")
    assert heard["segments"][0]["start"] == heard["words"][0]["start"]


def test_a_picture_in_a_message_is_seen(models: Models) -> None:
    url = f"data:image/png;base64,{b64(models.picture)}"
    parts = [
        {"type": "text", "text": "How many red circles are there?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]

    answer = models.result(
        "image-text-to-text", json={"messages": [{"role": "user", "content": parts}]}
    )

    assert answer["response"] == answer["description"]
    assert answer["response"] == "Two."


@pytest.mark.parametrize(
    ("task", "body", "field"),
    [("text-to-image", PROMPT, "image"), ("text-to-speech", {"text": SPEECH}, "audio")],
)
def test_base64_says_the_same_as_bytes(
    models: Models, task: str, body: dict[str, Any], field: str
) -> None:
    plain = models.post(task, json=body)

    wrapped = models.result(f"{task}-base64", json=body)

    assert base64.b64decode(wrapped[field]) == plain.content
    assert plain.headers["content-type"] in ("image/png", "audio/wav")


def test_a_binding_sends_and_gets_bytes(models: Models) -> None:
    seen = models.bound("object-detection", models.picture, "image/png")
    drawn = models.bound(
        "text-to-image", b"prompt=a+red+circle&seed=7", "application/x-www-form-urlencoded"
    )

    assert seen.content_type == "application/json"
    assert seen.body.count(b"circle") == 2
    assert (drawn.content_type, drawn.body[:8]) == ("image/png", b"\x89PNG\r\n\x1a\n")


def test_a_pipe_passes_on_what_it_gets(models: Models) -> None:
    body = bytes(range(256))

    answer = models.post("dumb-pipe", content=body, headers={"Content-Type": "x-test/bytes; a=1"})

    assert answer.content == body
    assert answer.headers["content-type"] == "x-test/bytes; a=1"


def test_contexts_are_ordered_by_meaning(models: Models) -> None:
    contexts = [{"text": "Cars need fuel."}, {"text": "A kitten is a young cat."}]

    best, other = models.result(
        "text-embeddings", json={"query": "small cats", "contexts": contexts}
    )["response"]

    assert (best["id"], other["id"]) == (1, 0)
    assert 1 >= best["score"] > other["score"]
