"""JSON mode: which wishes are taken, what a model is sent, and which answers are right."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import BadInput, JsonModeFailed
from services.entry.tasks.json_mode import JsonMode, json_mode_of
from services.entry.tasks.schema_weight import weigh
from tests.entry.asking import RUN, ask
from tests.entry.fakes import FakeServer, says, sent_sampling

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}
BARE = {"type": "json_schema", "json_schema": PERSON}
WRAPPED = {
    "type": "json_schema",
    "json_schema": {"name": "person", "schema": PERSON, "strict": True},
}
ANY = {"type": "json_object"}


@pytest.mark.parametrize("wish", [BARE, WRAPPED, ANY], ids=["bare", "wrapped", "any object"])
async def test_the_answer_is_an_object(wish: dict[str, Any]) -> None:
    server = FakeServer(says('{"name": "Ada", "age": 36}', "stop"))

    asked = await ask(server, json={"prompt": "who?", "response_format": wish})

    assert asked.json["result"]["response"] == {"name": "Ada", "age": 36}
    assert asked.json["result"]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("wish", "guide"),
    [(BARE, {"json": PERSON}), (WRAPPED, {"json": PERSON}), (ANY, {"json_object": True})],
    ids=["bare", "wrapped", "any object"],
)
async def test_vllm_is_guided(wish: dict[str, Any], guide: dict[str, Any]) -> None:
    server = FakeServer(says('{"name": "Ada"}', "stop"))

    await ask(server, json={"prompt": "who?", "response_format": wish})

    assert orjson.loads(sent_sampling(server)["guided_decoding"]) == guide


async def test_text_is_not_guided() -> None:
    server = FakeServer(says("hi"))

    await ask(server, json={"prompt": "who?", "response_format": {"type": "text"}})

    assert "guided_decoding" not in sent_sampling(server)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"name":"Ada"}', {"name": "Ada"}),
        ('\n {"name":"Ada"} \n', {"name": "Ada"}),
        ('```json\n{"name":"Ada"}\n```', {"name": "Ada"}),
        ('```\n{"name":"Ada"}\n```', {"name": "Ada"}),
    ],
)
def test_json_is_read(text: str, value: Any) -> None:
    assert JsonMode(PERSON).read(text) == value


@pytest.mark.parametrize(
    ("wish", "text", "reason", "why"),
    [
        (BARE, "Ada is 36.", "stop", "not JSON"),
        (BARE, "", "stop", "not JSON"),
        (BARE, '{"name":"Ad', "length", "cut off by max_tokens"),
        (BARE, '{"name":7}', "stop", "does not fit the schema"),
        (BARE, "[]", "stop", "does not fit the schema"),
        (ANY, "[]", "stop", "no object"),
        (ANY, "7", "stop", "no object"),
        (BARE, "```", "stop", "not JSON"),
        (BARE, '{"a":' * 300 + "1" + "}" * 300, "stop", "couldn't be met"),
    ],
)
async def test_an_answer_that_is_not_what_was_asked_for_is_an_error(
    wish: dict[str, Any], text: str, reason: str, why: str
) -> None:
    asked = await ask(FakeServer(says(text, reason)), json={"prompt": "x", "response_format": wish})

    assert (asked.status, asked.json["errors"][0]["code"]) == (422, 5024)
    assert "JSON Mode couldn't be met" in asked.json["errors"][0]["message"]
    assert why in asked.json["errors"][0]["message"]


DOUBLING = {f"d{at}": {"anyOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(15)}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (None, "expected a JSON Schema"),
        ({"type": "nothing"}, "no JSON Schema"),
        ({"$ref": "http://127.0.0.1:9/schema"}, "leads elsewhere"),
        ({"$ref": "file:///etc/passwd"}, "leads elsewhere"),
        ({"$ref": "#name"}, "leads elsewhere"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$dynamicRef": "#node"}, "not followed here"),
        ({"properties": {"a": {"$id": "http://x/", "type": "object"}}}, "not followed here"),
        ({"$schema": "http://127.0.0.1:9/meta", "type": "object"}, "Unknown meta-schema"),
        ({"pattern": "(?=a)"}, "no JSON Schema"),
        ({"pattern": "[a-z]{1,60000}"}, "no JSON Schema"),
        ({"description": "x" * 40_000}, "more than the maximum of 32768"),
        ({"$defs": {**DOUBLING, "d15": {}}, "$ref": "#/$defs/d0"}, "unfold to more than"),
    ],
)
async def test_a_schema_that_cannot_be_taken_is_named(schema: Any, why: str) -> None:
    wish = {"type": "json_schema", "json_schema": schema} if schema else {"type": "json_schema"}

    asked = await ask(FakeServer(), json={"prompt": "x", "response_format": wish})

    assert (asked.status, asked.json["errors"][0]["code"]) == (400, 5006)
    assert why in asked.json["errors"][0]["message"]
    assert asked.json["errors"][0]["source"]["pointer"] == "/response_format/json_schema"


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(300):
        schema = {"properties": {"a": schema}}

    with pytest.raises(BadInput, match="nested"):
        json_mode_of({"type": "json_schema", "json_schema": schema})


def test_an_answer_cannot_be_made_to_take_long() -> None:
    loop = {"required": ["b"], "properties": {"a": {"$ref": "#"}}}
    deep = '{"a":' * 60 + "1" + "}" * 60
    began = time.perf_counter()

    with pytest.raises(JsonModeFailed, match="nested too deeply"):
        JsonMode({"anyOf": [loop, {**loop, "title": "again"}]}).read(deep)

    assert time.perf_counter() - began < 1  # a plain check would do 2 to the power of 60 steps


def test_a_pattern_cannot_be_made_to_take_long() -> None:
    began = time.perf_counter()

    with pytest.raises(JsonModeFailed):
        JsonMode({"pattern": "^(a+)+$"}).read(f'"{"a" * 5000}b"')

    assert time.perf_counter() - began < 1


def test_a_tree_is_taken() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
    value = {"left": {"left": {}, "right": {}}, "right": {}}

    assert weigh(tree).loops == 2
    assert JsonMode(tree).read(orjson.dumps(value).decode()) == value


@pytest.mark.parametrize("path", [RUN, f"{RUN}?x=1"])
async def test_a_stream_is_refused(path: str) -> None:
    body = {"prompt": "x", "response_format": ANY, "stream": True}

    asked = await ask(FakeServer(), path, json=body)

    assert (asked.status, asked.json["errors"][0]["code"]) == (400, 5006)
    assert asked.json["errors"][0]["source"]["pointer"] == "/stream"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4))
def test_any_object_is_read_as_it_is(value: dict[str, Any]) -> None:
    assert JsonMode(None).read(orjson.dumps(value).decode()) == value
