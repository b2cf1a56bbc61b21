"""Envelopes, as protobuf reads and writes them."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from libs.common.envelope import Outcome, PayloadKind, RequestSource, TimeBounds, Units, Usage
from libs.common.envelopes import (
    parts_from_messages,
    parts_to_bytes,
    request_from_bytes,
    request_to_chunks,
)
from libs.common.pb import inference_pb2 as pb
from libs.common.values import attributes
from tests.fakes import a_request

OUTCOME = Outcome(usage=Usage(tokens_in=3, tokens_out=4, neurons=0.5), serving_colo="ams", hops=1)
PAYLOADS = st.lists(st.binary(max_size=300), max_size=4)
FULL = {
    "request_id": "id",
    "account": "account",
    "model": "model",
    "payload": b"payload",
    "payload_kind": PayloadKind.HTTP_BODY,
    "content_type": "text/plain",
    "task": "task",
    "stream": True,
    "client_request_id": "theirs",
    "finetune": "f",
    "adapter": "a",
    "session": "s",
    "prefix_hashes": (1, 2**64 - 1),
    "cost": 2,
    "priority": 9,
    "max_queue_ms": 3,
    "reject_if_busy": True,
    "background": True,
    "preferred_colo": "lhr",
    "time_bounds": TimeBounds(first_part_ms=4, idle_ms=5, total_ms=6),
    "retry_count": 7,
    "attempt": 8,
    "continued_from": 9,
    "idempotency_key": "key",
    "source_colo": "ams",
    "visited_colos": ("ams", "fra"),
    "queued_in_colo": "fra",
    "shard": 10,
    "falls_back": True,
    "shard_epoch": 11,
    "request_source": RequestSource.WORKER_BINDING,
    "traceparent": "trace",
    "tracestate": "a=1",
    "units": Units(input_characters=12, pixels=13, steps=14, audio_seconds=1.5),
    "bytes_in": 16,
}


def test_every_field_of_a_request_travels() -> None:
    request = a_request(**FULL)
    own = {"over_unix_socket"}  # said by who received it
    assert set(attributes(request)) == set(FULL) | own  # what is new here must travel, too

    assert request_from_bytes(b"".join(request_to_chunks(request))) == request


def test_a_copy_of_a_request_says_the_same_and_changes_alone() -> None:
    request = a_request(**FULL)
    copy = request.copy()
    assert copy == request

    copy.attempt = 99

    assert copy != request
    assert request.attempt == 8


@given(PAYLOADS, st.booleans())
def test_parts_are_what_protobuf_makes_of_them(payloads: list[bytes], ends: bool) -> None:
    outcome = OUTCOME if ends else None

    written = parts_to_bytes(payloads, outcome)

    message = pb.StreamInferResponse.FromString(written)
    assert (list(message.payloads), message.last) == (payloads, ends)
    read = parts_from_messages([written, message.SerializeToString()])
    assert read.payloads == payloads * 2
    assert read.outcome == outcome


@given(PAYLOADS, st.integers(1, 20))
def test_parts_that_are_cut_short_are_no_parts(payloads: list[bytes], missing: int) -> None:
    whole = parts_to_bytes([*payloads, b"x" * 40], None)

    with pytest.raises(DecodeError):
        parts_from_messages([whole[:-missing]])


@given(st.binary(max_size=40))
def test_whatever_comes_is_read_as_protobuf_reads_it_or_refused(data: bytes) -> None:
    try:
        expected = list(pb.StreamInferResponse.FromString(data).payloads)
    except DecodeError:
        expected = None
    try:
        read = list(parts_from_messages([data]).payloads)
    except DecodeError:
        return
    assert expected is None or read == expected
