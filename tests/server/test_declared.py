"""What a model declares against what its dialect sends: nothing to say, or what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common.catalog import Backend, Lora, Model, UsageTensors
from libs.common.pb import kserve_pb2 as kserve
from services.entry.tasks.registry import TASKS
from services.entry.tasks.tensor_task import TensorTask
from services.server.backends.contracts import TEXT_CONTRACTS, Kind, contract_of
from services.server.backends.declared import flaw

Tensors = dict[str, Kind]


def a_model(dialect: str, task: str = "text-generation", **changes: Any) -> Model:
    backend = {name: changes.pop(name) for name in ("tensors", "usage") if name in changes}
    made = Backend(dialect=dialect, **backend)  # type: ignore[arg-type]
    return Model(name="m", task=task, backend=made, **changes)  # type: ignore[arg-type]


def declared(inputs: Tensors, outputs: Tensors) -> kserve.ModelMetadataResponse:
    message = kserve.ModelMetadataResponse()
    for name, kind in inputs.items():
        message.inputs.add(name=name, datatype=kind.datatype, shape=kind.shape)
    for name, kind in outputs.items():
        message.outputs.add(name=name, datatype=kind.datatype, shape=kind.shape)
    return message


def fitting(dialect: str) -> tuple[Tensors, Tensors]:
    """Return the tensors of a model that is as the dialect has it."""
    contract = TEXT_CONTRACTS[dialect]
    inputs = {**contract.always, **contract.sometimes, **contract.adapter}
    return inputs, {"text_output": Kind("BYTES", (-1,))}


@pytest.mark.parametrize("dialect", TEXT_CONTRACTS)
def test_a_model_as_the_dialect_has_it_fits(dialect: str) -> None:
    assert flaw(a_model(dialect, lora=Lora(enabled=True)), declared(*fitting(dialect))) == ""


@pytest.mark.parametrize("dialect", TEXT_CONTRACTS)
@pytest.mark.parametrize("body", [{}, {"temperature": 0, "top_p": 0.5, "seed": 1, "stop": ["x"]}])
def test_what_entry_sends_is_what_is_checked(dialect: str, body: dict[str, Any]) -> None:
    model = a_model(dialect)
    task = TASKS["text-generation"](model, str)
    contract = contract_of(model, dialect)
    assert contract is not None

    payload = task.payload(task.parse({"prompt": "hi", **body}), stream=True, adapter="")

    sent = kserve.ModelInferRequest.FromString(payload).inputs
    known = {**contract.always, **contract.sometimes}
    assert {each.name for each in sent} >= contract.always.keys()
    for each in sent:
        assert known[each.name].takes(Kind(each.datatype, tuple(each.shape))), each


def changed(dialect: str, **inputs: Kind | None) -> kserve.ModelMetadataResponse:
    """Return a fitting model with some inputs otherwise, None for none."""
    found, outputs = fitting(dialect)
    left = {**found, **inputs}
    return declared({name: kind for name, kind in left.items() if kind}, outputs)


@pytest.mark.parametrize(
    ("model", "model_says", "words"),
    [
        (
            a_model("vllm"),
            changed("vllm", text_input=None, prompt=Kind("BYTES", (1,))),
            ["it has no input text_input (it has ", "prompt BYTES[1]", "backend.tensors"],
        ),
        (
            a_model("vllm"),
            changed("vllm", stream=Kind("INT32", (1,))),
            ["input stream is INT32[1], and dialect vllm sends BOOL[1]"],
        ),
        (
            a_model("vllm"),
            changed("vllm", text_input=Kind("BYTES", (-1, 1))),
            ["text_input is BYTES[-1,1]", "max_batch_size: 0 in its config.pbtxt would fit"],
        ),
        (
            a_model("vllm"),
            declared(*fitting("tensorrt_llm")),
            ["no input sampling_parameters", "backend.dialect: tensorrt_llm would fit"],
        ),
        (
            a_model("seeds", lora=Lora(enabled=True)),
            changed("seeds", lora_config=Kind("INT32", (-1, 3))),
            ["input lora_config is INT32[-1,3], and dialect seeds sends BYTES[1]"],
        ),
        (
            a_model("vllm"),
            declared(fitting("vllm")[0], {"text": Kind("BYTES", (-1,))}),
            ["it has no output text_output (it has text BYTES[-1])"],
        ),
        (
            a_model("vllm"),
            declared(fitting("vllm")[0], {"text_output": Kind("FP32", (1,))}),
            ["output text_output is FP32[1], and BYTES is read"],
        ),
        (
            a_model("vllm", usage=UsageTensors(tokens_out="count")),
            declared(*fitting("vllm")),
            ["backend.usage.tokens_out: it has no output count"],
        ),
        (
            a_model("seeds", task="text-embeddings"),
            declared({"text": Kind("INT64", (-1,))}, {"embedding": Kind("FP32", (-1, 4))}),
            ["input text is INT64[-1], and dialect seeds sends BYTES[-1]"],
        ),
    ],
    ids=lambda value: value[0][:40] if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_told_with_what_would(
    model: Model, model_says: kserve.ModelMetadataResponse, words: list[str]
) -> None:
    told = flaw(model, model_says)

    assert [each for each in words if each not in told] == [], told


def test_a_renamed_tensor_fits() -> None:
    model = a_model("vllm", tensors={"text_input": "prompt"})

    assert flaw(model, changed("vllm", text_input=None, prompt=Kind("BYTES", (1,)))) == ""


@pytest.mark.parametrize("task", sorted(TASKS.keys() - {"text-generation", "text-embeddings"}))
def test_what_entry_may_send_for_a_task_is_what_is_checked(task: str) -> None:
    contract = contract_of(a_model("vllm", task=task), "vllm")
    assert contract is not None
    made = TASKS[task]
    assert issubclass(made, TensorTask)

    sent = {**contract.always, **contract.sometimes}

    by_entry = {**made.needed, **made.optional}
    if task == "text-classification":
        assert by_entry.pop("query") == "BYTES"
    if task.endswith("-to-text"):
        assert sent.pop("sampling_parameters").datatype == "BYTES"
    assert {name: kind.datatype for name, kind in sent.items()} == by_entry
    assert contract.always.keys() == made.needed.keys() - {"query"}


def test_a_classifier_may_be_a_reranker() -> None:
    model = a_model("vllm", task="text-classification")
    texts = {"query": Kind("BYTES", (1,)), "contexts": Kind("BYTES", (-1,))}

    assert flaw(model, declared(texts, {"score": Kind("FP32", (-1,))})) == ""
    assert "no output score" in flaw(model, declared(texts, {}))
    assert "no input text" in flaw(model, declared({}, {}))
