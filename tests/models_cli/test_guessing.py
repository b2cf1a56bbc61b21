"""What a model is, from what its server says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from libs.common.catalog import TaskName
from services.models_cli.guessing import (
    SHAPES,
    CannotTell,
    Tensors,
    chosen,
    of_folder,
    of_listed,
    of_tensors,
)

ROOT = Path(__file__).parents[2]


def tensors(inputs: str, outputs: str) -> Tensors:
    def typed(names: str) -> dict[str, str]:
        return {n.partition(":")[0]: n.partition(":")[2] or "BYTES" for n in names.split()}

    return Tensors(inputs=typed(inputs), outputs=typed(outputs))


@pytest.mark.parametrize(
    ("task", "inputs", "outputs"), SHAPES, ids=[f"{s[0]}, {s[1]}" for s in SHAPES]
)
def test_a_tasks_own_tensors_are_known_again(task: TaskName, inputs: str, outputs: str) -> None:
    assert of_tensors(tensors(inputs, outputs)).task == task


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        ("text_input stream sampling_parameters", "text_output", {"dialect": "vllm"}),
        ("text_input sampling_parameters lora_name", "text_output", {"dialect": "seeds"}),
        ("text_input max_tokens:INT32", "text_output", {"dialect": "tensorrt_llm"}),
        ("text_input sampling_param_top_p:FP32", "text_output", {"dialect": "tensorrt_llm_api"}),
        (
            "text_input sampling_parameters",
            "text_output num_input_tokens:UINT32 num_output_tokens:UINT32",
            {
                "dialect": "vllm",
                "usage": {"tokens_in": "num_input_tokens", "tokens_out": "num_output_tokens"},
            },
        ),
        ("sentence", "vector:FP32", {"tensors": {"text": "sentence", "embedding": "vector"}}),
    ],
)
def test_dialect_usage_and_names_are_told_by_the_tensors(
    inputs: str, outputs: str, expected: dict[str, Any]
) -> None:
    assert of_tensors(tensors(inputs, outputs)).backend == expected


def test_tensors_of_no_task_are_told_with_what_to_do() -> None:
    with pytest.raises(CannotTell, match=r"x, y -> z.*give --task"):
        of_tensors(tensors("x y", "z"))


@pytest.mark.parametrize(
    ("folder", "task"),
    [("text_generation", "text-generation"), ("text_embeddings", "text-embeddings")],
)
def test_the_demo_models_folders_are_told_by_their_configuration(folder: str, task: str) -> None:
    assert of_folder(ROOT / "models" / folder).task == task


def test_a_folder_with_another_name_than_its_model_is_served_as_that(tmp_path: Path) -> None:
    text = 'name: "m"\ninput [{name: "text" data_type: TYPE_STRING dims: [1]}]\n'
    (tmp_path / "config.pbtxt").write_text(text + 'output [{ name: "summary" }, {name:"audio"}]')

    guess = of_folder(tmp_path)

    assert (guess.task, guess.backend) == ("text-to-speech", {"served_as": "m"})
    with pytest.raises(CannotTell, match="names the model m: it cannot be served as other"):
        of_folder(tmp_path, served_as="other")


def test_a_folder_whose_configuration_has_no_name_is_served_as_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text('input [{name: "x"}]\noutput [{name: "y"}]')

    guess = of_folder(tmp_path, task="dumb-pipe", served_as="other")

    assert (guess.task, guess.backend) == ("dumb-pipe", {"served_as": "other"})


def test_a_folder_without_a_configuration_is_told() -> None:
    with pytest.raises(CannotTell, match="expected the folder of one Triton model"):
        of_folder(ROOT / "docs")


@pytest.mark.parametrize(
    ("names", "name", "wanted", "found"),
    [
        (["a"], "@cf/x/y", "", "a"),
        (["a", "b"], "@cf/x/y", "b", "b"),
        (["meta/Llama-3", "b"], "@cf/meta/llama3", "", "meta/Llama-3"),
        ([], "@cf/x/y", "b", "b"),
    ],
    ids=["the only one", "said", "named alike", "a server that lists none"],
)
def test_which_of_a_servers_models_is_meant(
    names: list[str], name: str, wanted: str, found: str
) -> None:
    assert chosen(names, name=name, wanted=wanted, where="there") == found


@pytest.mark.parametrize(
    ("names", "wanted", "words"),
    [
        (["a", "b"], "", "there serves a, b: give --served-as NAME"),
        (["a"], "b", "there serves no 'b' but a"),
        ([], "", "there serves no model"),
    ],
)
def test_where_that_cannot_be_told_the_names_are(names: list[str], wanted: str, words: str) -> None:
    with pytest.raises(CannotTell, match=words):
        chosen(names, name="@cf/x/y", wanted=wanted, where="there")


@pytest.mark.parametrize(
    ("owner", "dialect"), [("vllm", "vllm"), ("sglang", "sglang"), ("me", "openai_http")]
)
def test_a_servers_dialect_is_told_by_who_owns_its_models(owner: str, dialect: str) -> None:
    assert of_listed({"id": "m", "owned_by": owner})["dialect"] == dialect
