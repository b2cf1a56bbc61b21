"""What tasks beside text generation show of a model's answer, and when that is none."""

from __future__ import annotations

import base64
from typing import Any

import jsonschema_rs
import numpy as np
import orjson
import pytest

from libs.common import wire
from libs.common.envelope import InferReply
from libs.common.errors import ModelFailed
from services.entry.fronts.bodies import to_json
from services.entry.tasks.base import Binary
from tests.entry.fakes import response
from tests.entry.tasks_at_work import PNG, WAV, shown, task_of

B64 = base64.b64encode(PNG).decode()
CONTEXTS = [{"text": "a"}, {"text": "bcd"}]

SHOWN: dict[str, tuple[str, dict[str, Any], dict[str, Any], Any]] = {
    "labels": (
        "text-classification",
        {"text": "a"},
        {"label": ["no", "yes"], "score": [0.25, 0.75]},
        [{"label": "yes", "score": 0.75}, {"label": "no", "score": 0.25}],
    ),
    "places": (
        "text-classification",
        {"query": "a", "contexts": CONTEXTS},
        {"score": [0.25, 0.5]},
        {"response": [{"id": 1, "score": 0.5}, {"id": 0, "score": 0.25}]},
    ),
    "the best place": (
        "text-classification",
        {"query": "a", "contexts": CONTEXTS, "top_k": 1},
        {"score": [0.25, 0.5]},
        {"response": [{"id": 1, "score": 0.5}]},
    ),
    "cosines": (
        "text-embeddings",
        {"query": "a", "contexts": CONTEXTS},
        {"embedding": [[2.0, 0.0], [0.0, 0.0], [3.0, 0.0]]},
        {"response": [{"id": 1, "score": 1.0}, {"id": 0, "score": 0.0}]},
    ),
    "vectors of contexts": (
        "text-embeddings",
        {"contexts": CONTEXTS},
        {"embedding": [[1.0], [2.0]]},
        {"shape": [2, 1], "data": [[1.0], [2.0]], "pooling": "mean"},
    ),
    "a text alone": (
        "automatic-speech-recognition",
        {"audio": B64},
        {"text": ["one two"]},
        {"text": "one two", "word_count": 2},
    ),
    "words": (
        "automatic-speech-recognition",
        {"audio": B64},
        {
            "text": ["Hi you."],
            "words": ["Hi", "you."],
            "word_times": [[0, 0.5], [0.5, 1]],
            "language": ["en"],
            "duration": [1.5],
        },
        {
            "text": "Hi you.",
            "word_count": 2,
            "words": [
                {"word": "Hi", "start": 0.0, "end": 0.5},
                {"word": "you.", "start": 0.5, "end": 1.0},
            ],
            "vtt": "WEBVTT\n\n00:00.000 --> 00:01.000\nHi you.\n",
            "segments": [
                {
                    "start": 0.0,
                    "end": 1.0,
                    "text": "Hi you.",
                    "words": [
                        {"word": "Hi", "start": 0.0, "end": 0.5},
                        {"word": "you.", "start": 0.5, "end": 1.0},
                    ],
                }
            ],
            "transcription_info": {"language": "en", "duration": 1.5},
        },
    ),
    "a picture's labels": (
        "image-classification",
        {"image": B64},
        {"label": ["a"], "score": [0.5]},
        [{"label": "a", "score": 0.5}],
    ),
    "boxes": (
        "object-detection",
        {"image": B64},
        {"label": ["a", "b"], "score": [0.5, 0.75], "box": [[1, 2, 3, 4], [5, 6, 7, 8]]},
        [
            {"label": "b", "score": 0.75, "box": {"xmin": 5, "ymin": 6, "xmax": 7, "ymax": 8}},
            {"label": "a", "score": 0.5, "box": {"xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4}},
        ],
    ),
    "a description": (
        "image-to-text",
        {"image": B64},
        {"text": [b"a \xff"]},
        {"description": "a \ufffd"},
    ),
    "an answer": (
        "image-text-to-text",
        {"image": B64, "prompt": "a"},
        {"text": ["b"]},
        {
            "description": "b",
            "response": "b",
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        },
    ),
    "a translation": (
        "translation",
        {"text": "a", "target_lang": "fr"},
        {"translated_text": ["b"]},
        {"translated_text": "b"},
    ),
    "a summary": ("summarization", {"input_text": "a"}, {"summary": ["b"]}, {"summary": "b"}),
    "one space": (
        "multimodal-embeddings",
        {"text": ["a"], "image": B64},
        {"embedding": [[1.0], [2.0]]},
        {"data": [[1.0], [2.0]], "shape": [2, 1]},
    ),
    "json of a pipe": (
        "dumb-pipe",
        {"body": b"", "content_type": ""},
        {"body": [b'{"a": 1}'], "content_type": ["application/json; charset=utf-8"]},
        {"a": 1},
    ),
}


@pytest.mark.parametrize(("name", "body", "tensors", "expected"), SHOWN.values(), ids=SHOWN)
def test_an_answer_is_shown_as_its_schema_says(
    name: str, body: dict[str, Any], tensors: dict[str, Any], expected: Any
) -> None:
    task = task_of(name)

    result = orjson.loads(to_json(shown(task, body, **tensors)))

    assert result == expected
    jsonschema_rs.validate(dict(task.output_schema()), result)


BINARY: dict[str, tuple[str, dict[str, Any], dict[str, Any], bytes, str]] = {
    "png": ("text-to-image", {"prompt": "a"}, {"image": [PNG]}, PNG, "image/png"),
    "jpeg": (
        "text-to-image",
        {"prompt": "a"},
        {"image": [b"\xff\xd8\xff\xe0"]},
        b"\xff\xd8\xff\xe0",
        "image/jpeg",
    ),
    "wav": ("text-to-speech", {"text": "a"}, {"audio": [WAV]}, WAV, "audio/wav"),
    "mp3": ("text-to-speech", {"text": "a"}, {"audio": [b"ID3\4"]}, b"ID3\4", "audio/mpeg"),
    "bare": (
        "text-to-speech",
        {"text": "a", "encoding": "mulaw"},
        {"audio": [b"\0\1"]},
        b"\0\1",
        "audio/basic",
    ),
    "unknown": (
        "text-to-speech",
        {"text": "a"},
        {"audio": [b"\0\1"]},
        b"\0\1",
        "application/octet-stream",
    ),
    "a pipe": (
        "dumb-pipe",
        {"body": b"", "content_type": ""},
        {"body": [b"\xff"], "content_type": ["x/y; z=1"]},
        b"\xff",
        "x/y; z=1",
    ),
    "a pipe without a type": (
        "dumb-pipe",
        {"body": b"", "content_type": ""},
        {"body": [b"a"]},
        b"a",
        "application/octet-stream",
    ),
    "a pipe whose json is none": (
        "dumb-pipe",
        {"body": b"", "content_type": ""},
        {"body": [b"{"], "content_type": ["application/json"]},
        b"{",
        "application/json",
    ),
}


@pytest.mark.parametrize(
    ("name", "body", "tensors", "content", "kind"), BINARY.values(), ids=BINARY
)
def test_bytes_are_answered_as_they_are(
    name: str, body: dict[str, Any], tensors: dict[str, Any], content: bytes, kind: str
) -> None:
    result = shown(task_of(name), body, **tensors)

    assert isinstance(result, Binary)
    assert (result.content, result.content_type) == (content, kind)


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [("text-to-image", {"prompt": "a"}, "image"), ("text-to-speech", {"text": "a"}, "audio")],
)
def test_a_model_may_answer_in_base64(name: str, body: dict[str, Any], said: str) -> None:
    task = task_of(name, base64_answers=True)

    result = shown(task, body, **{said: [PNG]})

    assert result == {said: B64}
    jsonschema_rs.validate(dict(task.output_schema()), result)
    assert "contentMediaType" in task_of(name).output_schema()


BROKEN: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "no tensor": ("summarization", {"input_text": "a"}, {"text": ["a"]}, "no tensor 'summary'"),
    "two texts": ("summarization", {"input_text": "a"}, {"summary": ["a", "b"]}, "2 elements"),
    "no texts": ("summarization", {"input_text": "a"}, {"summary": [1.0]}, "not texts"),
    "a label more": (
        "image-classification",
        {"image": B64},
        {"label": ["a", "b"], "score": [1.0]},
        r"score is FP32\[1\], not 2x1 of numbers",
    ),
    "half a box": (
        "object-detection",
        {"image": B64},
        {"label": ["a"], "score": [1.0], "box": [[1, 2]]},
        "not 1x4 of numbers",
    ),
    "a score of text": (
        "text-classification",
        {"text": "a"},
        {"label": ["a"], "score": ["b"]},
        "not 1x1 of numbers",
    ),
    "a picture without a vector": (
        "multimodal-embeddings",
        {"text": "a", "image": B64},
        {"embedding": [[1.0, 2.0, 3.0]]},
        "not 2 rows of numbers",
    ),
    "vectors of text": (
        "multimodal-embeddings",
        {"text": "a"},
        {"embedding": ["a"]},
        "not 1 rows of numbers",
    ),
    "a vector less": (
        "text-embeddings",
        {"query": "a", "contexts": CONTEXTS},
        {"embedding": [[1.0], [2.0]]},
        "not 3 vectors",
    ),
    "a type of other letters": (
        "dumb-pipe",
        {"body": b"", "content_type": ""},
        {"body": [b""], "content_type": ["ä/b"]},
        "content_type",
    ),
    "a content type": (
        "dumb-pipe",
        {"body": b"", "content_type": ""},
        {"body": [b""], "content_type": ["a\r\nb: c"]},
        "content_type",
    ),
}


@pytest.mark.parametrize(("name", "body", "tensors", "words"), BROKEN.values(), ids=BROKEN)
def test_an_answer_that_does_not_add_up_is_the_models_fault(
    name: str, body: dict[str, Any], tensors: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelFailed, match=words):
        shown(task_of(name), body, **tensors)


def test_nothing_may_be_found() -> None:
    task = task_of("object-detection")
    none = np.zeros((0, 4), np.float32)
    tensors = [wire.text("label"), wire.numbers("score", "FP32", none[:, 0])]

    reply = InferReply(payload=response(*tensors, wire.numbers("box", "FP32", none)))

    assert task.render(task.parse({"image": B64}), reply) == []
