"""Dialects: what a model gets for the same words, and how its answers are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from libs.common import wire
from libs.common.catalog import Backend, Model, UsageTensors
from libs.common.envelope import InferReply, PayloadKind
from libs.common.errors import BadInput, ModelFailed
from libs.common.pb import kserve_pb2 as kserve
from services.entry.tasks.base import results
from services.entry.tasks.text_embeddings import TextEmbeddings
from services.entry.tasks.text_generation import TextGeneration
from tests.entry.fakes import OUTCOME, TEMPLATE, response

HI = {"role": "user", "content": "hi"}
ALL_SAID: dict[str, Any] = {
    "messages": [HI],
    "max_tokens": 9,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 3,
    "seed": 2**33,
    "repetition_penalty": 1.5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.25,
    "stop": "end",
}


def text(dialect: str, kind: str = "triton", **backend: Any) -> TextGeneration:
    made = Backend(kind=kind, dialect=dialect, served_as="org/Model", **backend)  # type: ignore[arg-type]
    model = Model(name="m", task="text-generation", backend=made)
    return TextGeneration(model, {"chat.jinja": TEMPLATE}.__getitem__)


def tensors(dialect: str, body: dict[str, Any], *, stream: bool = True) -> dict[str, Any]:
    """Return what a model in Triton gets: datatype, shape and values by name."""
    task = text(dialect)
    payload = task.payload(task.parse(body), stream=stream, adapter="")
    message = kserve.ModelInferRequest.FromString(payload)
    found = {}
    for each, raw in zip(message.inputs, message.raw_input_contents, strict=True):
        tensor = wire.Tensor(each.name, each.datatype, tuple(each.shape), raw)
        if each.datatype == "BYTES":
            values: list[Any] = [text.decode() for text in tensor.texts()]
        else:
            values = tensor.array().ravel().tolist()
        found[each.name] = (each.datatype, tuple(each.shape), values)
    return found


def test_the_inflight_batcher_gets_a_tensor_for_each_thing_in_a_batch_of_one() -> None:
    assert tensors("tensorrt_llm", ALL_SAID) == {
        "text_input": ("BYTES", (1, 1), ["user: hi\nassistant:"]),
        "max_tokens": ("INT32", (1, 1), [9]),
        "temperature": ("FP32", (1, 1), [0.5]),
        "top_k": ("INT32", (1, 1), [3]),
        "top_p": ("FP32", (1, 1), [pytest.approx(0.9)]),
        "seed": ("UINT64", (1, 1), [2**33]),
        "repetition_penalty": ("FP32", (1, 1), [1.5]),
        "presence_penalty": ("FP32", (1, 1), [0.5]),
        "frequency_penalty": ("FP32", (1, 1), [0.25]),
        "stop_words": ("BYTES", (1, 1), ["end"]),
        "stream": ("BOOL", (1, 1), [True]),
        "exclude_input_in_output": ("BOOL", (1, 1), [True]),
    }


def test_the_llm_api_has_its_own_names_and_no_batch() -> None:
    assert tensors("tensorrt_llm_api", ALL_SAID | {"stop": ["a", "b"]}, stream=False) == {
        "text_input": ("BYTES", (1,), ["user: hi\nassistant:"]),
        "sampling_param_max_tokens": ("INT32", (1,), [9]),
        "sampling_param_temperature": ("FP32", (1,), [0.5]),
        "sampling_param_top_k": ("INT32", (1,), [3]),
        "sampling_param_top_p": ("FP32", (1,), [pytest.approx(0.9)]),
        "sampling_param_seed": ("UINT64", (1,), [2**33]),
        "sampling_param_presence_penalty": ("FP32", (1,), [0.5]),
        "sampling_param_frequency_penalty": ("FP32", (1,), [0.25]),
        "sampling_param_stop": ("BYTES", (2,), ["a", "b"]),
        "streaming": ("BOOL", (1,), [False]),
        "sampling_param_exclude_input_from_output": ("BOOL", (1,), [True]),
        "return_finish_reason": ("BOOL", (1,), [True]),
    }


@pytest.mark.parametrize(
    ("dialect", "prefix"), [("tensorrt_llm", ""), ("tensorrt_llm_api", "sampling_param_")]
)
def test_no_temperature_means_the_best_token(dialect: str, prefix: str) -> None:
    found = tensors(dialect, {"prompt": "hi", "temperature": 0, "top_k": 9})

    assert prefix + "temperature" not in found
    assert found[prefix + "top_k"][2] == [1]


@pytest.mark.parametrize("dialect", ["vllm", "seeds", "tensorrt_llm", "tensorrt_llm_api"])
def test_the_rest_of_a_text_is_asked_for_with_what_was_said(dialect: str) -> None:
    task = text(dialect)
    parsed = task.parse({"prompt": "hi", "raw": True, "max_tokens": 9})
    renderer = task.renderer(parsed, keep_bytes=99)
    renderer.parts([response(wire.text("text_output", each)) for each in ("so", " ", "far")])

    rest = renderer.rest(parsed)

    assert rest is not None
    assert (rest.values["text"], rest.values["max_tokens"]) == ("hiso far", 6)


def test_where_all_tokens_so_far_are_told_they_are_not_added_up() -> None:
    usage = UsageTensors(tokens_out="out")
    task = text("tensorrt_llm", usage=usage)
    parsed = task.parse({"prompt": "hi", "max_tokens": 9})
    renderer = task.renderer(parsed, keep_bytes=99)
    parts = [
        response(wire.text("text_output", each), wire.numbers("out", "INT32", np.array([count])))
        for each, count in (("a", 2), ("b", 4), ("c", 5))
    ]
    renderer.parts(parts)

    rest = renderer.rest(parsed)

    assert rest is not None
    assert rest.values["max_tokens"] == 4


# --- OpenAI's API


def body(dialect: str, said: dict[str, Any], *, stream: bool = False, **rest: Any) -> Any:
    adapter = rest.pop("adapter", "")
    task = text(dialect, "openai_http", **rest)
    return orjson.loads(task.payload(task.parse(said), stream=stream, adapter=adapter))


def test_the_payload_is_a_body() -> None:
    assert text("vllm", "openai_http").payload_kind == PayloadKind.HTTP_BODY
    assert text("vllm").payload_kind == PayloadKind.TENSORS


def test_what_openai_does_not_know_is_sent_to_those_alone_that_take_more() -> None:
    common = {
        "messages": [HI],
        "model": "org/Model",
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 2**33,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.25,
        "stop": ["end"],
        "stream": False,
    }
    assert body("openai_http", ALL_SAID) == common
    assert body("vllm", ALL_SAID) == common | {"top_k": 3, "repetition_penalty": 1.5}
    assert body("sglang", ALL_SAID) == body("vllm", ALL_SAID)


def test_a_stream_asks_for_its_usage() -> None:
    plain, more = (body(each, {"prompt": "x"}, stream=True) for each in ("openai_http", "vllm"))

    assert plain["stream_options"] == {"include_usage": True}
    assert more["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_the_adapter_is_the_model() -> None:
    assert body("vllm", {"prompt": "x"}, adapter="ft-1")["model"] == "ft-1"


def test_a_prompt_is_a_message_unless_it_is_raw_or_entry_has_the_template() -> None:
    templated = body("vllm", {"messages": [HI]}, chat_template="chat.jinja")

    assert body("vllm", {"prompt": "hi"})["messages"] == [HI]
    assert body("vllm", {"prompt": "hi", "raw": True})["prompt"] == "hi"
    assert templated["prompt"] == "<user>hi<assistant>"
    assert next(iter(templated)) == "prompt", "by which the server knows the route"


def test_answers_are_read() -> None:
    task = text("vllm", "openai_http")
    parsed = task.parse({"prompt": "hi"})
    choices = (
        {"message": {"role": "assistant", "content": "ho"}, "finish_reason": "stop"},
        {"text": "ho", "finish_reason": "stop"},
    )

    for choice in choices:
        reply = InferReply(payload=orjson.dumps({"choices": [choice]}), outcome=OUTCOME)
        result = task.render(parsed, reply)
        assert (result["response"], result["finish_reason"]) == ("ho", "stop")


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"choices":[7]}', b'{"choices":[{}]}'])
def test_what_is_no_answer_is_the_models_failure(payload: bytes) -> None:
    task = text("vllm", "openai_http")

    with pytest.raises(ModelFailed, match="the model's answer"):
        task.render(task.parse({"prompt": "hi"}), InferReply(payload=payload))


def events(*texts: str, tokens: bool = True) -> list[bytes]:
    """Write a stream as vLLM does: the role, texts, the reason, the usage."""
    usage = {"prompt_tokens": 7, "completion_tokens": 0}
    made: list[dict[str, Any]] = [{"choices": [{"delta": {"role": "assistant", "content": ""}}]}]
    made += [{"choices": [{"delta": {"content": each}}]} for each in texts]
    for at, each in enumerate(made):
        if tokens:
            each["usage"] = usage | {"completion_tokens": 2 * at}
    return [orjson.dumps(each) for each in made]


END = [
    orjson.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
    orjson.dumps({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 4}}),
]


def test_a_stream_of_events_is_text() -> None:
    task = text("vllm", "openai_http")
    renderer = task.renderer(task.parse({"prompt": "hi"}))

    shown = renderer.parts(events("ho", " 東"))
    ended = renderer.parts(END)

    assert [result for each in shown for result in results(each)] == [
        {"response": "ho"},
        {"response": " 東"},
    ]
    assert ended == [{"response": "", "finish_reason": "stop"}]


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_a_conversation_goes_on_where_the_server_can(dialect: str) -> None:
    task = text(dialect, "openai_http")
    parsed = task.parse({"messages": [HI], "max_tokens": 9})
    renderer = task.renderer(parsed, keep_bytes=99)
    renderer.parts(events("so", " far"))

    rest = renderer.rest(parsed)

    assert rest is not None
    sent = orjson.loads(task.payload(rest, stream=True, adapter=""))
    assert sent["messages"] == [HI, {"role": "assistant", "content": "so far"}]
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)
    assert sent["max_tokens"] == 9 - 4


def test_elsewhere_a_prompt_goes_on_and_a_conversation_does_not_once_it_has_begun() -> None:
    task = text("openai_http", "openai_http")
    raw, chat = task.parse({"prompt": "hi", "raw": True}), task.parse({"messages": [HI]})
    begun, fresh, prompt = (task.renderer(raw, keep_bytes=99) for _ in range(3))
    begun.parts(events("so"))
    prompt.parts(events("so", tokens=False))

    went_on = prompt.rest(raw)

    assert begun.rest(chat) is None
    assert fresh.rest(chat) is not None
    assert went_on is not None
    assert went_on.values["text"] == "hiso"
    assert went_on.values["max_tokens"] == 255


def vectors() -> TextEmbeddings:
    backend = Backend(kind="openai_http", dialect="vllm", served_as="org/E")
    return TextEmbeddings(Model(name="e", task="text-embeddings", backend=backend), str)


def test_embeddings_are_asked_for_and_read_in_order() -> None:
    task = vectors()
    parsed = task.parse({"text": ["a", "b"]})
    rows = [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 2]}]

    sent = orjson.loads(task.payload(parsed, stream=False, adapter=""))
    result = task.render(parsed, InferReply(payload=orjson.dumps({"data": rows})))

    assert sent == {"model": "org/E", "input": ["a", "b"], "encoding_format": "float"}
    assert result["shape"] == [2, 2]
    assert result["data"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("payload", [b"{}", b'{"data":[]}', b'{"data":[{"index":0}]}'])
def test_what_has_no_vectors_is_the_models_failure(payload: bytes) -> None:
    with pytest.raises(ModelFailed):
        vectors().render(vectors().parse({"text": "a"}), InferReply(payload=payload))


def test_how_to_pool_is_the_servers() -> None:
    with pytest.raises(BadInput, match="pools as its server does"):
        vectors().parse({"text": "a", "pooling": "cls"})
