"""Answers in our own layout: what is written and read by hand is what protobuf makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import outcome_bytes, remembering
from libs.common.envelope import NO_UNITS, InferReply, Outcome, Timings, Units, Usage
from libs.common.envelope_messages import outcome_of
from libs.common.envelopes import (
    parts_from_messages,
    parts_to_bytes,
    reply_from_bytes,
    reply_to_chunks,
)
from libs.common.pb import inference_pb2 as pb
from tests.libs.messages import TEXTS, damaged, laid_out_otherwise, told

U32 = st.sampled_from((0, 1, 127, 128, 2**28 - 1, 2**28, 2**32 - 1))
U64 = U32 | st.just(2**64 - 1)
UNITS = st.builds(
    Units,
    input_characters=U64,
    pixels=st.just(0) | U64,
    steps=st.just(0) | U32,
    audio_seconds=st.sampled_from((0.0, 1.5)),
)
OUTCOMES = st.builds(
    Outcome,
    usage=st.builds(
        Usage,
        tokens_in=U32,
        tokens_out=U32,
        units=st.just(NO_UNITS) | UNITS,
        neurons=st.just(0.0) | st.floats(allow_nan=False),
    ),
    timings=st.builds(Timings, queue_us=U64, permit_wait_us=U64, forward_us=U64, first_part_us=U64),
    serving_colo=TEXTS,
    endpoint=TEXTS,
    chosen_because=TEXTS,
    hops=U32,
    free_permits=U32,
    queue_length=U32,
)
REPLIES = st.builds(
    InferReply,
    payload=st.binary(max_size=20) | st.binary(min_size=130, max_size=140),
    content_type=st.just("") | TEXTS,
    outcome=OUTCOMES,
)
USUAL = Outcome(
    usage=Usage(tokens_in=3, units=Units(input_characters=200), neurons=0.5),
    timings=Timings(forward_us=2_000, first_part_us=1_000),
    serving_colo="ams",
    endpoint="127.0.0.1:8001",
    chosen_because="only",
    free_permits=200,
)


def written(reply: InferReply) -> bytes:
    return b"".join(reply_to_chunks(reply))


def by_protobuf(data: bytes) -> InferReply:
    message = pb.InferResponse.FromString(data)
    return InferReply(
        payload=message.payload,
        content_type=message.content_type,
        outcome=outcome_of(message.outcome, message.occupancy),
    )


def the_end_by_protobuf(data: bytes) -> Outcome | None:
    message = pb.StreamInferResponse.FromString(data)
    return outcome_of(message.outcome, message.occupancy) if message.last else None


def the_end(data: bytes) -> Outcome | None:
    return parts_from_messages([data]).outcome


@given(REPLIES)
def test_an_answer_is_what_protobuf_reads(reply: InferReply) -> None:
    data = written(reply)

    assert by_protobuf(data) == reply
    assert reply_from_bytes(data) == reply
    assert reply_from_bytes(data) == reply  # now that it is known


@given(REPLIES.flatmap(lambda reply: laid_out_otherwise(written(reply))))
def test_an_answer_that_is_laid_out_otherwise_says_the_same(data: bytes) -> None:
    assert told(reply_from_bytes, data) == told(by_protobuf, data)


@given(
    (REPLIES | st.just(InferReply(payload=b"x", outcome=USUAL))).flatmap(
        lambda reply: damaged(written(reply))
    )
)
def test_damaged_answers_are_read_as_protobuf_reads_them_or_refused(data: bytes) -> None:
    assert told(reply_from_bytes, data) == told(by_protobuf, data)


@given(OUTCOMES.flatmap(lambda outcome: laid_out_otherwise(parts_to_bytes((), outcome))))
def test_the_end_of_a_stream_is_what_protobuf_reads(data: bytes) -> None:
    assert told(the_end, data) == told(the_end_by_protobuf, data)


@given(st.just(USUAL).flatmap(lambda outcome: damaged(parts_to_bytes((), outcome))))
def test_damaged_ends_are_read_as_protobuf_reads_them_or_refused(data: bytes) -> None:
    assert told(the_end, data) == told(the_end_by_protobuf, data)


def test_a_usual_outcome_is_written_and_read_without_protobuf() -> None:
    data = outcome_bytes.outcome_to_layout(USUAL)

    assert data is not None
    assert outcome_bytes.outcome_from_layout(data, 0) == USUAL


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(free_permits=-1),
        Outcome(usage=Usage(tokens_in=2**32)),
        Outcome(timings=Timings(queue_us=-1)),
        Outcome(hops=-1),
        Outcome(endpoint="\ud800"),
    ],
    ids=str,
)
def test_what_no_answer_can_hold_is_refused(outcome: Outcome) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - protobuf's own words
        written(InferReply(payload=b"", outcome=outcome))


def test_whatever_comes_little_is_kept() -> None:
    for number in range(remembering.MOST + 10):
        reply = InferReply(payload=b"", outcome=Outcome(endpoint=str(number)))
        assert reply_from_bytes(written(reply)) == reply
        assert len(outcome_bytes.read) <= remembering.MOST
        assert len(outcome_bytes.written) <= remembering.MOST
