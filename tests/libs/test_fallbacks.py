"""Chains of fallbacks: they end, and what would not is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import Model, TaskName
from libs.common.fallbacks import MOST, chain, flaws

NAMES = "abcdef"


def models(
    fallbacks: Mapping[str, Sequence[str]], task: TaskName = "translation"
) -> dict[str, Model]:
    return {
        name: Model(name=name, task=task, fallbacks=tuple(those))
        for name, those in fallbacks.items()
    }


@pytest.mark.parametrize(
    ("fallbacks", "expected"),
    [
        ({"a": ""}, ""),
        ({"a": "bc", "b": "", "c": ""}, "bc"),
        ({"a": "bc", "b": "d", "c": "", "d": ""}, "bdc"),
        ({"a": "bc", "b": "c", "c": ""}, "bc"),
        ({"a": "b", "b": "a"}, "b"),
        ({"a": "xb", "b": ""}, "b"),
    ],
    ids=["none", "in order", "with their own", "each once", "a loop ends", "one that is gone"],
)
def test_a_chain_is_in_order_and_ends(fallbacks: dict[str, str], expected: str) -> None:
    known = models(fallbacks)

    assert [each.name for each in chain(known["a"], known.get)] == list(expected)


def test_what_does_something_else_is_not_in_a_chain() -> None:
    known = models({"a": "bc", "b": "c", "c": ""})
    known |= models({"b": "c"}, task="summarization")

    assert [each.name for each in chain(known["a"], known.get)] == ["c"]


@pytest.mark.parametrize(
    ("fallbacks", "words"),
    [
        ({"a": "x"}, "'x' is not in the catalog"),
        ({"a": "a"}, "'a' is the model itself"),
        ({"a": "b", "b": "c", "c": "a"}, "'b' leads back to a: a loop"),
        ({"a": "bcdefghij"} | dict.fromkeys("bcdefghij", ""), "9 models follow one another"),
    ],
    ids=["unknown", "itself", "a loop", "too long"],
)
def test_what_is_wrong_with_fallbacks_is_named(fallbacks: dict[str, str], words: str) -> None:
    known = models(fallbacks)

    (flaw,) = flaws(known["a"], known.get)
    assert words in flaw


def test_a_fallback_must_do_the_same_task() -> None:
    known = models({"a": "b"}) | models({"b": ""}, task="summarization")

    assert list(flaws(known["a"], known.get)) == ["'b' does summarization, not translation"]


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES)), min_size=1))
def test_every_chain_is_bounded_and_has_each_model_once(fallbacks: dict[str, list[str]]) -> None:
    known = models(fallbacks)

    for model in known.values():
        names = [each.name for each in chain(model, known.get)]
        assert len(names) <= MOST
        assert len(set(names)) == len(names)
        assert model.name not in names
