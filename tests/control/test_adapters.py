"""What may be uploaded as an adapter, and what is said of what may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Lora
from libs.common.errors import BadAdapter, TooLarge
from services.control.adapters import (
    LARGEST_CONFIG,
    LARGEST_HEADER,
    Config,
    check_together,
    header_bytes,
    read_config,
    read_header,
)
from tests.adapters import LAYER, config, header, tensors, weights

LORA = Lora(enabled=True, max_rank=32, model_types=("demo",), target_modules=("q_proj", "v_proj"))
A, B = f"{LAYER}.q_proj.lora_A.weight", f"{LAYER}.q_proj.lora_B.weight"
DEEP = b"[" * 100_000


def entry(**changed: Any) -> dict[str, Any]:
    found = tensors()
    found[A] = found[A] | changed
    return found


def read_weights(raw: bytes) -> Any:
    until = 8 + header_bytes(raw[:8])
    return read_header(raw[8:until], LORA)


def test_a_right_adapter_is_read() -> None:
    read = read_config(config(), LORA)
    found = read_weights(weights())

    assert read == Config(rank=8, target_modules=("q_proj", "v_proj"))
    assert (found.rank, found.size) == (8, len(weights()))
    check_together(read, found)


def test_what_the_catalog_does_not_bound_may_be_anything() -> None:
    raw = config(model_type=None, target_modules=["up_proj", "model.layers.0.mlp.down_proj"])

    assert read_config(raw, Lora(enabled=True)).rank == 8


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not valid JSON"),
        (b"\xff{}", "not valid JSON"),
        (b"[]", "expected a JSON object"),
        (DEEP, "too deep"),
        (b'{"r": 8, "r": 64}', "a key is there twice"),
        (config(peft_type="IA3"), "peft_type: expected \"LORA\", got 'IA3'"),
        (config(peft_type=None), "got nothing"),
        (config(r=33), "r: expected a rank of 1 to 32, got 33"),
        (config(r=0), "got 0"),
        (config(r=8.0), "got 8.0"),
        (config(r=True), "got True"),
        (config(r="8"), "got '8'"),
        (config(r=None), "got nothing"),
        (config(model_type="llama"), "model_type: expected demo, got 'llama'"),
        (config(model_type=None), "model_type: expected demo, got nothing"),
        (config(model_type=["demo"]), "model_type: expected demo"),
        (config(lora_alpha=0), "lora_alpha: expected a number above 0"),
        (config(lora_alpha="16"), "lora_alpha"),
        (config(lora_alpha=float("nan")), "lora_alpha"),
        (config(target_modules=None), "target_modules: expected a list"),
        (config(target_modules=[]), "target_modules: expected a list"),
        (config(target_modules="all-linear"), "target_modules: expected a list"),
        (config(target_modules=["q_proj", 1]), "target_modules: expected a list"),
        (config(target_modules=["q_proj", "up_proj"]), "expected of q_proj, v_proj, got 'up_proj'"),
        (config(target_modules=["x.up_proj"]), "got 'x.up_proj'"),
        (config(bias="all"), 'bias: expected "none"'),
        (config(use_dora=True), "use_dora: expected none"),
        (config(modules_to_save=["lm_head"]), "modules_to_save: expected none"),
        (config(rank_pattern={"q_proj": 64}), "rank_pattern: expected none"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_by_its_field(raw: bytes, words: str) -> None:
    with pytest.raises(BadAdapter) as refused:
        read_config(raw, LORA)

    assert words in str(refused.value)


def test_a_config_that_is_too_large_is_not_read() -> None:
    with pytest.raises(TooLarge):
        read_config(config(note="x" * LARGEST_CONFIG), LORA)


@pytest.mark.parametrize(
    "raw", [b"", b"\2\0", bytes(8), (LARGEST_HEADER + 1).to_bytes(8, "little")]
)
def test_what_has_no_headers_length_is_refused(raw: bytes) -> None:
    with pytest.raises(BadAdapter, match="does not begin as safetensors"):
        header_bytes(raw)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (b"{1", "not valid JSON"),
        (b"[1]", "expected its header to be a JSON object"),
        (b" {}", "expected its header to be a JSON object"),
        (b'{"a": 1, "a": 2}', "a key is there twice"),
        (b'{"a":' + DEEP, "too deep"),
        ({}, "has no tensors"),
        ({"__metadata__": {"format": "pt"}}, "has no tensors"),
        ({"__metadata__": {"n": 1}, **tensors()}, "__metadata__: expected texts"),
        ({A: 1}, "expected dtype, shape and data_offsets"),
        ({A: tensors()[A]}, "lora_A and lora_B are a pair"),
        (entry(dtype="I8"), "dtype: expected F64, F32, F16, BF16, got 'I8'"),
        (entry(dtype=["F32"]), "dtype: expected"),
        (entry(shape=[8]), "shape: expected two dimensions"),
        (entry(shape=[8, 0]), "shape: expected two dimensions"),
        (entry(shape=[8, 2**40]), "shape: expected two dimensions"),
        (entry(shape=[8, True]), "shape: expected two dimensions"),
        (entry(shape=None), "got nothing"),
        (entry(data_offsets=[0, 64]), "data_offsets: expected 128 bytes"),
        (entry(data_offsets=[-128, 0]), "data_offsets: expected 128 bytes"),
        (entry(data_offsets=[0, "128"]), "data_offsets: expected two numbers"),
        (entry(data_offsets=[128, 256]), "expected to begin at 0, not 128"),
        (entry(data_offsets=[1000, 1128]), "expected to begin at 0, not 128"),
        (tensors(rank=33), "expected one rank of 1 to 32"),
        (tensors(module="up_proj"), "expected a module of q_proj, v_proj"),
        ({"model.lora_A.weight": tensors()[A]}, "expected base_model.model.<module>.lora_A.weight"),
        ({A.replace("lora_A", "lora_C"): tensors()[A]}, "expected base_model.model"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_by_its_tensor(entries: Any, words: str) -> None:
    with pytest.raises(BadAdapter) as refused:
        read_weights(header(entries))

    assert words in str(refused.value)


def test_two_ranks_in_one_adapter_are_refused() -> None:
    found = tensors()
    found[B] = {"dtype": "F32", "shape": [8, 4], "data_offsets": [128, 256]}

    with pytest.raises(BadAdapter, match="expected one rank"):
        read_weights(header(found))


@pytest.mark.parametrize(
    ("told", "found", "words"),
    [
        (config(r=4), weights(rank=8), "r is 4 in adapter_config.json, and 8 in"),
        (config(target_modules=["v_proj"]), weights(module="q_proj"), "do not name"),
    ],
)
def test_two_files_of_different_adapters_are_refused(told: bytes, found: bytes, words: str) -> None:
    with pytest.raises(BadAdapter, match=words):
        check_together(read_config(told, LORA), read_weights(found))


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
)
NAMES = st.sampled_from(
    [*json.loads(config()), "dtype", "shape", "data_offsets", "__metadata__", A, B, "use_dora"]
)


@given(st.binary(max_size=64) | st.dictionaries(NAMES, JSONS | st.dictionaries(NAMES, JSONS)))
def test_whatever_comes_is_read_or_refused(value: Any) -> None:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()

    for read in (read_config, read_header):
        try:
            read(raw, LORA)
        except BadAdapter:
            continue
