"""Tasks: what they take, what they refuse and in which words, and what they send and show."""

import codecs
import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from libs.common import wire
from libs.common.catalog import Backend, Model
from libs.common.envelope import InferReply
from libs.common.errors import BadInput, ModelFailed
from libs.common.pb import kserve_pb2 as kserve
from libs.common.wire import Tensor
from services.entry.tasks.base import Result, Shown, Task, results
from services.entry.tasks.chat import PLAIN, ChatTemplate
from services.entry.tasks.sandbox import SandboxedTemplate
from services.entry.tasks.text_embeddings import TextEmbeddings
from services.entry.tasks.text_generation import TextGeneration
from tests.entry.fakes import OUTCOME, TEMPLATE, TEXT_MODEL, VECTOR_MODEL, response, says, vectors


def templates(path: str) -> str:
    assert path == "chat.jinja"
    return TEMPLATE


text_generation = TextGeneration(TEXT_MODEL, templates)
text_embeddings = TextEmbeddings(VECTOR_MODEL, templates)


def sent(task: Task, body: dict[str, Any], *, stream: bool = False, adapter: str = "") -> Any:
    """Return the tensors that the model would get, by name."""
    payload = task.payload(task.parse(body), stream=stream, adapter=adapter)
    message = kserve.ModelInferRequest.FromString(payload)
    pairs = zip(message.inputs, message.raw_input_contents, strict=True)
    return {i.name: Tensor(i.name, i.datatype, tuple(i.shape), raw) for i, raw in pairs}


def text_of(tensors: Any, name: str = "text_input") -> str:
    (text,) = tensors[name].texts()
    return str(text, "utf-8")


def sampling(body: dict[str, Any], **how: Any) -> Any:
    return orjson.loads(text_of(sent(text_generation, body, **how), "sampling_parameters"))


def nested(levels: int) -> Any:
    """Return arrays in arrays."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


HI = {"role": "user", "content": "hi"}
REFUSED = [
    ({}, "/prompt", "prompt: expected exactly one of prompt and messages"),
    ({"prompt": "a", "messages": [HI]}, "/prompt", "exactly one of"),
    ({"prompt": ""}, "/prompt", "prompt: expected at least 1 character(s), got 0"),
    ({"prompt": 7}, "/prompt", "prompt: expected a string, got an integer"),
    ({"prompt": None}, "/prompt", "prompt: expected a string, got null"),
    (
        {"prompt": "a", "max_tokens": 900},
        "/max_tokens",
        "max_tokens: 900 is greater than the maximum of 512",
    ),
    ({"prompt": "a", "max_tokens": 0}, "/max_tokens", "0 is less than the minimum of 1"),
    ({"prompt": "a", "max_tokens": 1.5}, "/max_tokens", "expected an integer, got a number"),
    ({"prompt": "a", "max_tokens": "9"}, "/max_tokens", "expected an integer, got a string"),
    ({"prompt": "a", "max_completion_tokens": 513}, "/max_completion_tokens", "maximum of 512"),
    ({"prompt": "a", "temperature": 5.1}, "/temperature", "5.1 is greater than the maximum of 5"),
    ({"prompt": "a", "temperature": -1}, "/temperature", "minimum of 0"),
    ({"prompt": "a", "top_p": 0}, "/top_p", "minimum of 0.001"),
    ({"prompt": "a", "top_k": 51}, "/top_k", "maximum of 50"),
    ({"prompt": "a", "seed": 0}, "/seed", "minimum of 1"),
    ({"prompt": "a", "seed": 10**10}, "/seed", "maximum of 9999999999"),
    ({"prompt": "a", "frequency_penalty": 3}, "/frequency_penalty", "maximum of 2"),
    ({"prompt": "a", "raw": "yes"}, "/raw", "expected a boolean, got a string"),
    ({"prompt": "a", "stop": ""}, "/stop", "expected at least 1 character(s)"),
    ({"prompt": "a", "stop": ["a"] * 5}, "/stop", "5 items are more than the maximum of 4"),
    ({"prompt": "a", "stop": ["a", 1]}, "/stop/1", "stop[1]: expected a string, got an integer"),
    ({"messages": []}, "/messages", "expected at least 1 item(s), got 0"),
    ({"messages": "hi"}, "/messages", "messages: expected an array, got a string"),
    (
        {"messages": [{"role": "user"}]},
        "/messages/0/content",
        "messages[0].content: this field is required",
    ),
    (
        {"messages": [{"role": "god", "content": "a"}]},
        "/messages/0/role",
        '"god" is not one of "system"',
    ),
    (
        {"messages": [HI, {"role": "user", "content": 1}]},
        "/messages/1/content",
        "expected null or a string or an array",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "/messages/0/content/0",
        "this model reads text alone",
    ),
    (
        {"prompt": "a", "response_format": {"type": "json_schema"}},
        "/response_format/json_schema",
        "expected a JSON Schema",
    ),
    ({"prompt": "a", "response_format": {}}, "/response_format/type", "required"),
    ({"prompt": "a", "seed": 10**30}, "/seed", "maximum of 9999999999"),
    ({"prompt": nested(260)}, "/prompt", "prompt: nested too deeply to be read"),
    ({"messages": [HI, nested(300)]}, "/messages", "nested too deeply"),
    ({"prompt": "a", "stop": [nested(253)]}, "/stop/0", "expected a string, got an array"),
    ({"prompt": "a", "response_format": {"type": nested(252)}}, "/response_format/type", "[[["),
    ({"prompt": "a", "response_format": {"type": nested(300)}}, "/response_format", "deeply"),
    ({"prompt": "a", "top_k": "\udcff"}, "", "body: cannot be read: 'utf-8' codec can't encode"),
]


@pytest.mark.parametrize(
    ("body", "pointer", "words"), REFUSED, ids=[str(r[0])[:60] for r in REFUSED]
)
def test_bad_input_is_refused_with_the_field_and_what_would_be_right(
    body: dict[str, Any], pointer: str, words: str
) -> None:
    with pytest.raises(BadInput) as refused:
        text_generation.parse(body)

    assert refused.value.pointer == pointer
    assert words in str(refused.value)


def test_a_template_that_writes_what_is_nested_too_deeply_refuses() -> None:
    template = ChatTemplate("{{ tools | tojson }}")

    with pytest.raises(BadInput, match="the model's template refuses them: maximum recursion"):
        template.prompt([HI], tools=nested(100_000))


EMBEDDING_REFUSED = [
    ({}, "/text", "text: this field is required"),
    ({"text": ""}, "/text", "expected at least 1 character(s)"),
    ({"text": []}, "/text", "expected at least 1 item(s)"),
    ({"text": ["a"] * 101}, "/text", "101 items are more than the maximum of 100"),
    ({"text": ["a", ""]}, "/text/1", "text[1]: expected at least 1 character(s)"),
    ({"text": 1}, "/text", "text: "),
    ({"text": nested(300)}, "/text", "text: nested too deeply"),
    ({"text": "a", "pooling": "max"}, "/pooling", '"max" is not one of "mean", "cls"'),
]


@pytest.mark.parametrize(("body", "pointer", "words"), EMBEDDING_REFUSED)
def test_bad_texts_are_refused(body: dict[str, Any], pointer: str, words: str) -> None:
    with pytest.raises(BadInput) as refused:
        text_embeddings.parse(body)

    assert refused.value.pointer == pointer
    assert words in str(refused.value)


def test_a_model_may_forbid_unknown_fields_and_require_others() -> None:
    model = Model(
        name="m",
        task="text-embeddings",
        schema={"additionalProperties": False, "required": ["text", "pooling"]},
    )
    task = TextEmbeddings(model, templates)

    with pytest.raises(BadInput, match="pooling: this field is required"):
        task.parse({"text": "a"})
    with pytest.raises(BadInput, match="size: there is no such field here") as refused:
        task.parse({"text": "a", "pooling": "cls", "size": 1})
    assert refused.value.pointer == "/size"


def test_defaults_stay_inside_of_a_models_bounds() -> None:
    model = Model(name="m", task="text-generation", schema={"max_tokens": {"maximum": 100.0}})

    parsed = TextGeneration(model, templates).parse({"prompt": "a"})

    assert parsed.values["max_tokens"] == 100


def test_unknown_fields_pass() -> None:
    assert sampling({"prompt": "a", "whatever": {"x": 1}})["max_tokens"] == 256


def test_a_prompt_is_one_user_message_for_the_template() -> None:
    assert text_of(sent(text_generation, {"prompt": "hi"})) == "<user>hi<assistant>"


@pytest.mark.parametrize("raw", [True, "true"])
def test_raw_skips_the_template(raw: Any) -> None:
    assert text_of(sent(text_generation, {"prompt": "hi", "raw": raw})) == "hi"


def test_messages_may_have_parts_and_newer_roles() -> None:
    messages = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
    ]

    prompt = text_of(sent(text_generation, {"messages": messages}))

    assert prompt == "<system>be kind<user>ab<assistant><assistant>"


def test_a_template_can_refuse_and_cannot_escape() -> None:
    def of(text: str) -> TextGeneration:
        return TextGeneration(TEXT_MODEL, lambda _: text)

    with pytest.raises(BadInput, match="no system"):
        of("{{ raise_exception('no system') }}").parse({"prompt": "a"})
    with pytest.raises(BadInput, match="unsafe"):
        of("{{ ''.__class__.__mro__ }}").parse({"prompt": "a"})


@pytest.mark.parametrize(
    "template",
    [
        TEMPLATE,
        PLAIN,
        "{% set said = messages[0]['content'] %}{{ said | trim }} {{ messages[0].items() | list }}",
        "{% for m in messages %}{{ loop.index }}{{ m.get('name') }}{{ m.nothing }}{% endfor %}",
        "{{ messages | map(attribute='role') | join }} {{ range(3) | list }} {{ nothing }}",
        "{% macro say(m) %}<{{ m.role }}>{% endmacro %}{{ messages | map('string') | join }}"
        "{% for m in messages %}{{ say(m) }}{% endfor %}",
        "{% set of = namespace(n=0) %}{% for m in messages %}{% set of.n = of.n + 1 %}{% endfor %}"
        "{{ of.n }}{{ messages[0].items }}",
    ],
)
def test_a_template_is_rendered_as_jinja_does(template: str) -> None:
    values = {"messages": [HI, HI | {"items": "odd"}], "add_generation_prompt": True}
    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    ours = SandboxedTemplate(template)

    rendered = [re.sub("0x[0-9a-f]+", "", ours.render(values)) for _ in range(2)]

    expected = re.sub("0x[0-9a-f]+", "", plain.from_string(template).render(values))
    assert rendered == [expected] * 2


def test_the_models_tensors_are_vllms() -> None:
    tensors = sent(text_generation, {"prompt": "hi"}, stream=True)

    assert list(tensors) == [
        "text_input",
        "stream",
        "sampling_parameters",
        "exclude_input_in_output",
        "return_finish_reason",
        "return_num_input_tokens",
        "return_num_output_tokens",
    ]
    assert tensors["stream"].data == b"\1"
    assert tensors["text_input"].datatype == "BYTES"


def test_sampling_parameters_are_what_was_given() -> None:
    body = {"prompt": "a", "max_tokens": 5.0, "temperature": 0, "seed": 7, "stop": "x", "top_k": 3}

    given = sampling(body, adapter="pirate")

    assert given == {
        "max_tokens": 5,
        "temperature": 0,
        "top_k": 3,
        "seed": 7,
        "stop": ["x"],
        "lora_name": "pirate",
    }
    assert isinstance(given["max_tokens"], int)


def test_other_dialects_get_their_adapter_from_the_server() -> None:
    model = Model(name="m", task="text-generation", backend=Backend(dialect="seeds"))
    task = TextGeneration(model, templates)

    assert b"lora_name" not in task.payload(task.parse({"prompt": "a"}), stream=False, adapter="x")


def test_a_model_may_call_its_tensors_otherwise() -> None:
    backend = Backend(tensors={"text": "INPUT", "embedding": "OUTPUT"})
    task = TextEmbeddings(Model(name="m", task="text-embeddings", backend=backend), templates)
    answer = response(wire.numbers("OUTPUT", "FP32", np.array([[0.5, 1.0]], np.float32)))
    parsed = task.parse({"text": "a"})

    assert list(sent(task, {"text": "a"})) == ["INPUT"]
    assert task.render(parsed, InferReply(payload=answer))["shape"] == [1, 2]


def test_how_to_pool_is_sent_only_where_it_is_unusual() -> None:
    tensors = sent(text_embeddings, {"text": ["a", "b"], "pooling": "cls"})

    assert tensors["text"].texts() == [b"a", b"b"]
    assert tensors["pooling"].texts() == [b"cls"]
    assert "pooling" not in sent(text_embeddings, {"text": "a"})


def test_the_answer_has_the_text_its_end_and_the_usage() -> None:
    parsed = text_generation.parse({"prompt": "a"})

    result = text_generation.render(
        parsed, InferReply(payload=says("ho", "length"), outcome=OUTCOME)
    )

    assert result == {
        "response": "ho",
        "finish_reason": "length",
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


def test_vectors_are_shown_as_they_are() -> None:
    parsed = text_embeddings.parse({"text": ["a", "b"]})

    result = text_embeddings.render(parsed, InferReply(payload=vectors([1, 2], [3, 4])))

    assert result["shape"] == [2, 2]
    assert result["data"].tolist() == [[1, 2], [3, 4]]
    assert result["pooling"] == "mean"


def test_an_answer_without_its_tensor_is_the_models_fault() -> None:
    parsed = text_embeddings.parse({"text": "a"})

    with pytest.raises(ModelFailed, match="no tensor 'embedding'"):
        text_embeddings.render(parsed, InferReply(payload=says("no")))


def flat(shown: Iterable[Shown]) -> list[Result]:
    return [result for each in shown for result in results(each)]


def as_one_by_one(parts: list[tuple[bytes, str]]) -> Iterator[Result]:
    """Say what is shown of texts and reasons, in the plainest way."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for raw, reason in parts:
        text = decoder.decode(raw)
        if reason != "None":
            yield {"response": text, "finish_reason": reason}
        elif text:
            yield {"response": text}


RAW = st.sampled_from(
    [b"", b"a", b"\x7f", "ä".encode(), "ä".encode()[:1], "😀".encode()[1:], b"\xff"]
)
PARTS = st.tuples(RAW | st.binary(max_size=5), st.sampled_from(["None"] * 9 + ["stop"]))


@given(st.lists(st.lists(PARTS, min_size=1)))
def test_parts_that_come_together_are_shown_as_one_by_one(
    come: list[list[tuple[bytes, str]]],
) -> None:
    renderer = text_generation.renderer(text_generation.parse({"prompt": "hi"}))

    shown = [flat(renderer.parts([says(*part) for part in parts])) for parts in come]

    assert list(chain(*shown)) == list(as_one_by_one(list(chain(*come))))


@given(text=st.text(min_size=1), cuts=st.lists(st.integers(0, 40)))
def test_a_stream_shows_the_text_however_its_bytes_were_cut(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = sorted({0, *cuts, len(data)})
    parts = [data[a:b] for a, b in itertools.pairwise(edges)]
    renderer = text_generation.renderer(text_generation.parse({"prompt": "hi"}))

    shown = [*renderer.parts([says(part) for part in parts]), renderer.end(OUTCOME)]

    assert "".join(each["response"] for each in flat(shown)) == text


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "messages", "max_tokens", "temperature", "stop", "raw", "seed"]),
        LEAVES | st.lists(LEAVES, max_size=3) | st.lists(st.dictionaries(st.text(), LEAVES)),
    )
)
def test_any_body_is_taken_or_refused_and_nothing_else(body: dict[str, Any]) -> None:
    with contextlib.suppress(BadInput):
        parsed = text_generation.parse(body)
        assert text_generation.payload(parsed, stream=False, adapter="")
