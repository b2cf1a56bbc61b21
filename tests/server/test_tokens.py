"""Token counts: what a model tells in its tensors, else its parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import wire
from libs.common.catalog import Backend, UsageTensors
from libs.common.pb import kserve_pb2 as kserve
from libs.common.wire import Tensor
from services.server.tokens import TokenCounter, TokenReader
from tests.fakes import a_model


def answer(*tensors: Tensor) -> bytes:
    response = kserve.ModelInferResponse(model_name="m", model_version="1", id="0" * 26)
    for each in tensors:
        response.outputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
        response.raw_output_contents.append(each.data)
    return response.SerializeToString()


def count(name: str, *numbers: float, datatype: str = "UINT32") -> Tensor:
    return wire.numbers(name, datatype, np.array(numbers))


def a_reader(dialect: str = "seeds", **usage: str) -> TokenReader:
    backend = Backend(dialect=dialect, usage=UsageTensors(**usage))  # type: ignore[arg-type]
    return TokenReader(a_model(backend=backend))


@pytest.mark.parametrize(
    ("usage", "tensors", "tokens"),
    [
        ({}, (count("in", 3), count("out", 4)), (0, 1)),
        ({"tokens_in": "in"}, (count("in", 3),), (3, 0)),
        ({"tokens_in": "in"}, (count("in", 3, 4),), (7, 0)),
        ({"tokens_out": "out"}, (count("out", 4),), (0, 4)),
        ({"tokens_in": "in", "tokens_out": "out"}, (count("in", 3), count("out", 4)), (3, 4)),
        ({"tokens_in": "in", "tokens_out": "out"}, (count("in", 3),), (3, 1)),
        ({"tokens_in": "in"}, (count("in", float("inf"), datatype="FP32"),), (0, 0)),
        ({"tokens_in": "in"}, (wire.text("in", "three"),), (0, 0)),
    ],
    ids=[
        "names nothing",
        "makes no tokens",
        "adds up",
        "out alone",
        "both",
        "does not say how many",
        "no number",
        "a text",
    ],
)
def test_an_answer_tells_its_tokens(
    usage: dict[str, str], tensors: tuple[Tensor, ...], tokens: tuple[int, int]
) -> None:
    reader = a_reader(**usage)

    assert [reader.read(answer(*tensors)) for _ in range(3)] == [tokens] * 3


def test_an_answer_that_cannot_be_read_counts_as_one_part() -> None:
    assert a_reader(tokens_out="out").read(b"\xff\xff garbage") == (0, 1)


def part(text: str, tokens: int | None) -> bytes:
    return answer(wire.text("text_output", text), *([count("out", tokens)] if tokens else []))


@pytest.mark.parametrize(
    ("dialect", "tokens_out"), [("vllm", 6), ("seeds", 3)], ids=["each its own", "the total so far"]
)
def test_a_stream_tells_its_tokens(dialect: str, tokens_out: int) -> None:
    reader = a_reader(dialect, tokens_out="out")
    counters = [TokenCounter(reader) for _ in range(2)]  # of calls at the same time
    parts = [part(text, number) for text, number in (("a", 1), ("bb", 2), ("", 3))]

    for counter in counters:
        counter.see(parts[:2])
    for counter in counters:
        counter.see(parts[2:])

    assert [each.totals() for each in counters] == [(0, tokens_out)] * 2
    assert counters[0].bytes_out == sum(map(len, parts))


@given(
    st.lists(st.lists(st.tuples(st.sampled_from([0, 1, 200, 2000]), st.integers(1, 5)), min_size=1))
)
def test_tokens_are_the_same_however_parts_come_together(
    come: list[list[tuple[int, int]]],
) -> None:
    """Few wait to be read with others, many and large ones are read at once."""
    counter = TokenCounter(a_reader("vllm", tokens_out="out"))
    groups = [[part("x" * size, tokens) for size, tokens in group] for group in come]

    for group in groups:
        counter.see(group)

    said = [tokens for group in come for _, tokens in group]
    if said:
        assert counter.totals() == (0, sum(said))
    assert counter.bytes_out == sum(len(each) for group in groups for each in group)


@pytest.mark.parametrize("dialect", ["vllm", "seeds"])
def test_a_stream_that_tells_no_tokens_counts_its_parts(dialect: str) -> None:
    counter = TokenCounter(a_reader(dialect, tokens_out="out"))

    counter.see([part("a", None), b"\xff garbage"])

    assert counter.totals() == (0, 2)


def test_a_part_with_a_broken_text_harms_nobody() -> None:
    counter = TokenCounter(a_reader("vllm", tokens_out="out"))

    counter.see([answer(Tensor("text_output", "BYTES", (1,), b"\1"), count("out", 2))])

    assert counter.totals()[1] in (1, 2)
