"""The demo language model's choices: sampling parameters, sampler, and text that may be shown."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.tinylm_modules import load

parameters, sampling, text, tokenizer = (
    load("parameters"),
    load("sampling"),
    load("text"),
    load("tokenizer"),
)

# --- parameters


def test_the_defaults_are_those_of_vllm() -> None:
    assert parameters.parse("") == parameters.SamplingParameters(max_tokens=16, temperature=1.0)


def test_values_may_be_strings() -> None:
    values = {
        "max_tokens": "7",
        "temperature": "0.5",
        "top_k": "3",
        "seed": "9",
        "stop": "end",
        "ignore_eos": "True",
        "lora_name": "pirate",
        "top_p": None,
    }

    assert parameters.parse(json.dumps(values)) == parameters.SamplingParameters(
        max_tokens=7,
        temperature=0.5,
        top_k=3,
        seed=9,
        stop=("end",),
        ignore_eos=True,
        lora_name="pirate",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("max_tokens", "many"),
        ("max_tokens", "9" * 5000),
        ("min_tokens", -1),
        ("min_tokens", 17),
        ("temperature", -0.1),
        ("temperature", "warm"),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", []),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_k", -2),
        ("seed", "x"),
        ("seed", 2**80),
        ("stop", 3),
        ("stop", [""]),
        ("stop", ["a", 1]),
        ("ignore_eos", "perhaps"),
        ("repetition_penalty", 0),
        ("frequency_penalty", 2.5),
        ("presence_penalty", -2.5),
        ("lora_name", 5),
        ("best_before", 1),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(parameters.BadParameter, match=name):
        parameters.parse(json.dumps({name: value}))


@pytest.mark.parametrize("data", ["{", "[]", "1", '"a"'])
def test_what_is_no_object_is_refused(data: str) -> None:
    with pytest.raises(parameters.BadParameter, match="sampling_parameters"):
        parameters.parse(data)


def test_other_request_parameters_are_left_alone() -> None:
    read = parameters.parse('{"max_tokens": 3, "priority": 1}', strict=False)

    assert read == parameters.SamplingParameters(max_tokens=3)


# --- sampler


def sampler(prompt: list[int] | None = None, **wanted: Any) -> Any:
    return sampling.Sampler(parameters.SamplingParameters(**wanted), prompt or [])


def logits(**best: float) -> Any:
    values = np.full(tokenizer.VOCABULARY, -9.0, dtype=np.float32)
    for letter, value in best.items():
        values[ord(letter)] = value
    return values


def drawn(chooser: Any, values: Any, times: int = 400) -> Counter[str]:
    return Counter(chr(chooser.choose(values)) for _ in range(times))


def test_temperature_zero_takes_the_best() -> None:
    assert drawn(sampler(temperature=0.0), logits(a=1.0, b=1.1), 5) == {"b": 5}


def test_top_k_and_top_p_leave_only_the_best() -> None:
    values = logits(a=3.0, b=2.9, c=2.0)

    assert set(drawn(sampler(top_k=2, seed=1), values)) == {"a", "b"}
    assert set(drawn(sampler(top_p=0.3, seed=1), values)) == {"a"}
    assert set(drawn(sampler(top_p=0.6, seed=1), values)) == {"a", "b"}


def test_choices_follow_the_probabilities() -> None:
    counts = drawn(sampler(seed=3), logits(a=5.0, b=5.0 - np.log(3)), 2000)

    assert counts["a"] / counts["b"] == pytest.approx(3, rel=0.2)


def test_frequency_and_presence_penalties_count_the_output() -> None:
    values = logits(a=2.0, b=1.0)

    assert drawn(sampler([ord("a")], temperature=0.0, presence_penalty=1.5), values, 1) == {"a": 1}
    assert drawn(sampler(temperature=0.0, presence_penalty=1.5), values, 2) == {"a": 1, "b": 1}
    assert drawn(sampler(temperature=0.0, frequency_penalty=0.4), values, 4) == {"a": 3, "b": 1}


def test_the_repetition_penalty_counts_the_prompt_too() -> None:
    chooser = sampler([ord("a")], temperature=0.0, repetition_penalty=3.0)

    assert drawn(chooser, logits(a=2.0, b=1.0), 1) == {"b": 1}


def test_the_logits_are_not_changed() -> None:
    values = logits(a=2.0)
    before = values.copy()

    sampler(temperature=0.0, presence_penalty=1.0, min_tokens=3).choose(values)

    assert np.array_equal(values, before)


def test_the_end_waits_for_min_tokens() -> None:
    values = logits(a=1.0)
    values[tokenizer.EOS] = 5.0
    chooser = sampler(temperature=0.0, min_tokens=2)

    assert [chooser.choose(values) for _ in range(3)] == [97, 97, tokenizer.EOS]


def test_the_other_special_tokens_are_never_chosen() -> None:
    values = logits(a=1.0)
    values[[tokenizer.BOS, tokenizer.PAD]] = 9.0

    assert drawn(sampler(temperature=0.0), values, 1) == {"a": 1}


# --- text


def shown(data: bytes, *stops: str) -> tuple[list[str], bool]:
    stream = text.TextStream(stops)
    pieces = []
    for byte in data:
        pieces.append(stream.add(byte))
        if stream.stopped:
            break
    return [*pieces, stream.end()], stream.stopped


def test_incomplete_characters_are_held_back() -> None:
    pieces, _ = shown("é😀".encode())

    assert pieces == ["", "é", "", "", "", "😀", ""]


def test_broken_bytes_become_marks() -> None:
    pieces, _ = shown(b"a\xffb\xe2\x82")

    assert "".join(pieces) == "a�b�"


def test_what_may_begin_a_stop_is_held_back() -> None:
    assert shown(b"a##b", "###") == (["a", "", "", "##b", ""], False)
    assert shown(b"ab###c", "###") == (["a", "b", "", "", "", ""], True)
    assert shown(b"ab#", "###") == (["a", "b", "", "#"], False)


def test_the_earliest_stop_counts() -> None:
    pieces, stopped = shown(b"one two", "two", "e t")

    assert ("".join(pieces), stopped) == ("on", True)


def test_before_min_tokens_no_stop_is_looked_for() -> None:
    stream = text.TextStream(["a"])

    assert stream.add(97, may_stop=False) == "a"
    assert stream.add(97) == ""
    assert stream.stopped


@given(st.text("ab€\n"), st.lists(st.text("ab€", min_size=1, max_size=3), max_size=3))
def test_the_text_is_what_is_before_the_first_stop(whole: str, stops: list[str]) -> None:
    ends = [whole.find(stop) + len(stop) for stop in stops if stop in whole]
    cut = whole[: min(ends)] if ends else whole  # the first moment at which a stop is there
    starts = [cut.find(stop) for stop in stops if stop in cut]

    pieces, stopped = shown(whole.encode(), *stops)

    assert "".join(pieces) == (cut[: min(starts)] if starts else whole)
    assert stopped == bool(starts)
