"""The demo language model's JSON: whatever it would rather say, it writes what a schema says."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.tinylm_modules import load

parameters, sampling, tokenizer = load("parameters"), load("sampling"), load("tokenizer")
grammar = load("grammar")
TREE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "left": {"$ref": "#"}, "right": {"$ref": "#"}},
    "required": ["name"],
}
SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}},
    {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a", "z"]},
    {"type": "object", "properties": {'"\n/ä': {"type": "null"}}, "required": ['"\n/ä']},
    {"type": "object"},
    {"enum": ["red", "green", 3, None, {"a": [1, 2]}]},
    {"const": {"deep": [True]}},
    {"type": "array", "items": {"enum": ["x", "yy"]}, "minItems": 2, "maxItems": 4},
    {"type": "array", "items": {"type": "number"}, "maxItems": 0},
    {"type": "string", "minLength": 3, "maxLength": 5},
    {"type": "integer", "minimum": 18, "maximum": 99},
    {"type": "number", "minimum": -3.5},
    {"type": "integer", "exclusiveMaximum": 0},
    {"type": ["null", "boolean"]},
    {"anyOf": [{"type": "integer"}, {"type": "object", "properties": {"a": {"const": 1}}}]},
    {"allOf": [{"properties": {"a": {"type": "null"}}}, {"required": ["a"]}], "type": "object"},
    {"$defs": {"c": {"enum": ["k"]}}, "type": "array", "items": {"$ref": "#/$defs/c"}},
    TREE,
]


def written(guide: dict[str, Any], seed: int, max_tokens: int = 400) -> tuple[str, bool]:
    """What a model writes that would like to say anything at all, and whether it came to an end."""
    told = {"guided_decoding": json.dumps(guide), "max_tokens": max_tokens, "seed": seed}
    sampler = sampling.Sampler(parameters.parse(json.dumps(told)), [])
    random = np.random.default_rng(seed)
    data = bytearray()
    while len(data) < max_tokens and not sampler.is_over:
        token = sampler.choose(random.normal(size=tokenizer.VOCABULARY).astype(np.float32) * 3)
        if token == tokenizer.EOS:
            return data.decode(), True
        data.append(token)
    return data.decode("utf-8", "replace"), sampler.is_over


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_written_fits_the_schema(schema: dict[str, Any], seed: int) -> None:
    text, has_ended = written({"json": schema}, seed)

    assert has_ended
    jsonschema_rs.validate(schema, json.loads(text))


@pytest.mark.parametrize("seed", range(5))
def test_an_object_is_written_where_any_will_do(seed: int) -> None:
    text, has_ended = written({"json_object": True}, seed)

    assert has_ended
    assert isinstance(json.loads(text), dict)


@given(st.integers(0, 10_000), st.integers(12, 60))
def test_it_ends_in_time_where_there_is_a_way(seed: int, max_tokens: int) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}

    text, has_ended = written({"json": schema}, seed, max_tokens)

    assert has_ended
    assert len(text.encode()) <= max_tokens
    jsonschema_rs.validate(schema, json.loads(text))


def test_what_cannot_end_in_time_is_cut_off() -> None:
    text, has_ended = written({"json": {"type": "string", "minLength": 50}}, 1, max_tokens=20)

    assert not has_ended
    assert len(text) <= 20


def test_a_model_that_is_sure_of_itself_writes_what_it_is_sure_of() -> None:
    told = {"guided_decoding": {"json": {"enum": ["yes", "no"]}}, "temperature": 0}
    sampler = sampling.Sampler(parameters.parse(json.dumps(told)), [])
    logits = np.zeros(tokenizer.VOCABULARY, dtype=np.float32)
    logits[list(b"no")] = 5

    data = bytes(sampler.choose(logits) for _ in range(4))

    assert data == b'"no"'
    assert sampler.is_over


@pytest.mark.parametrize(
    "guide",
    [
        "{",
        [],
        {},
        {"json_object": False},
        {"json": 7},
        {"json": {"type": "thing"}},
        {"json": {"$ref": "#/$defs/none"}},
        {"json": {"enum": []}},
        {"json": {"anyOf": [True]}},
        {"json": {"type": "string", "minLength": "x"}},
        {"regex": "a+"},
    ],
    ids=str,
)
def test_a_guide_that_cannot_be_followed_is_refused(guide: Any) -> None:
    with pytest.raises(parameters.BadParameter, match="guided_decoding must be"):
        parameters.parse(json.dumps({"guided_decoding": guide}))


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(100):
        schema = {"type": "array", "items": schema}

    with pytest.raises(parameters.BadParameter, match="too deeply"):
        parameters.parse(json.dumps({"guided_decoding": {"json": schema}}))


def test_a_grammar_says_where_it_is() -> None:
    part = grammar.Repeat(grammar.text("ab"), 0, 2)
    position = grammar.Position(part)
    for byte in b"abab":
        assert byte in position.allowed(10)
        position.take(byte)

    assert position.may_end
    assert position.allowed(10) == set()
    assert repr(position) == "<Position ways=1 may_end=True>"
