"""Misspelt names of fields: which are refused, which pass, and what the message says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import pytest

from libs.common.errors import BadInput
from services.entry.fronts.media_bodies import image_body, speech_body, transcription_body
from services.entry.fronts.openai_bodies import chat_body, completion_body, embeddings_body
from services.entry.fronts.responses_bodies import Asked
from services.entry.spelling import is_slip, misspelt
from services.entry.tasks.schema import InputSchema
from tests.entry.fakes import FakeServer, entry_of, small_world
from tests.entry.gateways import call

Body = Mapping[str, Any]
CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
TEXT = {"model": "m", "prompt": "x"}
INPUT = {"model": "m", "input": "x"}


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("max_token", "max_tokens", True),
        ("temprature", "temperature", True),
        ("temperatuer", "temperature", True),
        ("tempereture", "temperature", True),
        ("maxTokens", "max_tokens", True),
        ("promptt", "prompt", True),
        ("min_p", "top_p", False),
        ("m", "n", False),
        ("a", "b", False),
        ("provider", "prompt", False),
        ("min_tokens", "max_tokens", False),
    ],
)
def test_what_is_a_slip(name: str, known: str, expected: bool) -> None:
    assert is_slip(name, known) is expected


@pytest.mark.parametrize(
    ("translate", "body", "name", "meant"),
    [
        (chat_body, CHAT, "temprature", "temperature"),
        (chat_body, CHAT, "max_completion_token", "max_completion_tokens"),
        (chat_body, CHAT, "repetition_penlty", "repetition_penalty"),
        (completion_body, TEXT, "max_token", "max_tokens"),
        (completion_body, {"model": "m"}, "promt", "prompt"),
        (embeddings_body, INPUT, "dimension", "dimensions"),
        (Asked().translate, INPUT, "instruction", "instructions"),
        (speech_body, INPUT, "voise", "voice"),
        (transcription_body, {"model": "m", "file": b"x"}, "langauge", "language"),
        (image_body, TEXT, "sise", "size"),
    ],
)
def test_a_misspelt_parameter_is_refused_with_the_one_that_was_meant(
    translate: Callable[[Body], object], body: Body, name: str, meant: str
) -> None:
    with pytest.raises(BadInput, match=f"{name}: .* did you mean {meant}") as refused:
        translate({**body, name: "x"})

    assert refused.value.pointer == f"/{name}"


@pytest.mark.parametrize("name", ["provider", "models", "min_p", "user", "top_k", "lora"])
def test_what_is_no_slip_passes(name: str) -> None:
    assert chat_body({**CHAT, name: 1})


def test_a_body_without_its_field_hears_of_what_is_nearly_that() -> None:
    schema = InputSchema({"properties": {"text": {"type": "string"}}, "required": ["text"]})

    with pytest.raises(BadInput, match=r"txet: .* did you mean text"):
        schema.read({"txet": "x"})
    with pytest.raises(BadInput, match="text: this field is required"):
        schema.read({"else": "x"})


def test_a_prompt_that_is_misspelt_is_named() -> None:
    entry = entry_of(small_world("ams"), {"ams": FakeServer()}).gateway

    with pytest.raises(BadInput, match=r"promt: .* did you mean prompt"):
        entry.plan(call({"promt": "x"}))


def test_a_body_of_many_long_names_is_looked_at_in_little_time() -> None:
    body = {f"{'max_token' * 1000}{number}": 1 for number in range(1000)} | {
        f"unknown{number}": 1 for number in range(100_000)
    }
    began = perf_counter()

    assert misspelt(body, [f"{number}_known" for number in range(50)]) is None

    assert perf_counter() - began < 1.0
