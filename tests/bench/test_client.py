"""Answers are held against the request: a wrong one fails the measurement."""

from __future__ import annotations

import pytest

from bench import canned, workloads
from bench.client import Check, WrongAnswer

RIGHT = canned.numbers_json()


def test_a_right_answer_passes() -> None:
    Check(workloads.embeddings()).answer(200, RIGHT, 0)


@pytest.mark.parametrize(
    ("status", "body", "complaint"),
    [
        (503, RIGHT, "status 503"),
        (200, b"{}", "there is no"),
        (200, RIGHT[: len(RIGHT) // 2], "there is no"),
    ],
    ids=["a status", "another answer", "half an answer"],
)
def test_a_wrong_answer_is_refused(status: int, body: bytes, complaint: str) -> None:
    with pytest.raises(WrongAnswer, match=complaint):
        Check(workloads.embeddings()).answer(status, body, 0)


def test_an_answer_of_another_length_than_the_first_is_refused() -> None:
    check = Check(workloads.embeddings())
    check.answer(200, RIGHT, 0)

    with pytest.raises(WrongAnswer, match="the first time"):
        check.answer(200, RIGHT + b" " * 100, 0)


@pytest.mark.parametrize("frames", [7, 13])
def test_a_stream_with_too_few_or_too_many_frames_is_refused(frames: int) -> None:
    check = Check(workloads.chat(workloads.COALESCED, tokens=8))

    with pytest.raises(WrongAnswer, match="frames came for 8 tokens"):
        check.answer(200, b"data: [DONE]\n\n", frames)


def test_a_stream_that_was_cut_is_refused() -> None:
    check = Check(workloads.chat(workloads.COALESCED, tokens=8))

    with pytest.raises(WrongAnswer, match="DONE"):
        check.answer(200, b"data: {}\n\n", 8)


def test_the_backend_streams_as_many_frames_as_the_gateway() -> None:
    frames = canned.frames(workloads.COALESCED, 8)

    assert len(frames) == 8 + 3
    Check(workloads.chat(workloads.COALESCED, tokens=8)).answer(200, frames[-1], len(frames))


def test_the_sizes_are_those_that_are_told() -> None:
    assert 180 <= len(workloads.embeddings().body) <= 220
    assert 350 <= len(RIGHT) <= 450


def test_an_unknown_workload_is_told() -> None:
    with pytest.raises(ValueError, match="unary, stream_coalesced"):
        workloads.ask("batch", seconds=1)
