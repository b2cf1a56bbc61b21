"""Requests in our own layout: what is written and read by hand is what protobuf makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import remembering, request_bytes
from libs.common.envelope import InferRequest, PayloadKind, RequestSource, TimeBounds, Units
from libs.common.envelope_messages import request_of
from libs.common.envelopes import request_from_bytes, request_to_chunks
from libs.common.pb import inference_pb2 as pb
from libs.common.values import attributes
from tests.fakes import a_request
from tests.libs.messages import TEXTS, damaged, laid_out_otherwise, told
from tests.libs.test_envelopes import FULL

U32 = st.sampled_from((0, 1, 127, 128, 2**28 - 1, 2**28, 2**32 - 1))
U64 = U32 | st.just(2**64 - 1)
SOME: dict[str, st.SearchStrategy[Any]] = {
    "request_id": TEXTS,
    "account": TEXTS,
    "model": TEXTS,
    "payload": st.binary(max_size=20) | st.binary(min_size=130, max_size=140),
}
MORE: dict[str, st.SearchStrategy[Any]] = {
    "payload_kind": st.sampled_from(PayloadKind),
    "request_source": st.sampled_from(RequestSource),
    "prefix_hashes": st.lists(U64, max_size=3).map(tuple),
    "visited_colos": st.lists(TEXTS, max_size=3).map(tuple),
    "time_bounds": st.builds(TimeBounds, first_part_ms=U32, idle_ms=U32, total_ms=U32),
    "units": st.builds(
        Units,
        input_characters=U64,
        pixels=st.just(0) | U64,
        steps=st.just(0) | U32,
        audio_seconds=st.sampled_from((0.0, 1.5)),
    ),
    "cost": U32.filter(bool),
    "shard_epoch": U64,
    "bytes_in": U64,
    **{
        name: st.booleans() if isinstance(value, bool) else U32
        for name, value in FULL.items()
        if isinstance(value, int) and name not in ("payload_kind", "request_source")
        if name not in ("cost", "shard_epoch", "bytes_in")
    },
    **{name: TEXTS for name, value in FULL.items() if isinstance(value, str) and name not in SOME},
}
REQUESTS = st.fixed_dictionaries(SOME, optional=MORE).map(lambda fields: a_request(**fields))


def written(request: InferRequest) -> bytes:
    return b"".join(request_to_chunks(request))


def by_protobuf(data: bytes) -> InferRequest:
    return request_of(pb.InferRequest.FromString(data))


def test_every_field_is_generated() -> None:
    assert {*SOME, *MORE} == set(FULL)


@given(REQUESTS)
def test_a_request_is_what_protobuf_reads(request: InferRequest) -> None:
    data = written(request)

    assert by_protobuf(data) == request
    assert request_from_bytes(data) == request
    assert request_from_bytes(data) == request  # now that it is known


@given(REQUESTS.flatmap(lambda request: laid_out_otherwise(written(request))))
def test_a_request_that_is_laid_out_otherwise_says_the_same(data: bytes) -> None:
    assert told(request_from_bytes, data) == told(by_protobuf, data)


@given(REQUESTS.flatmap(lambda request: damaged(written(request))))
def test_damaged_requests_are_read_as_protobuf_reads_them_or_refused(data: bytes) -> None:
    assert told(request_from_bytes, data) == told(by_protobuf, data)


@pytest.mark.parametrize("name", FULL)
def test_no_field_is_taken_from_a_request_that_was_the_same_otherwise(name: str) -> None:
    common = a_request()
    assert request_from_bytes(written(common)) == common

    other = a_request(**{name: FULL[name]})

    assert request_from_bytes(written(other)) == other
    assert request_from_bytes(written(common)) == common


def test_what_is_read_changes_alone() -> None:
    data = written(a_request())
    first = request_from_bytes(data)

    for name, value in FULL.items():
        setattr(first, name, value)

    assert request_from_bytes(data) == a_request()


def test_a_common_request_is_read_without_protobuf() -> None:
    request = a_request(
        units=Units(input_characters=300), bytes_in=400, traceparent="t", prefix_hashes=(1, 2)
    )
    data = written(request)
    request_from_bytes(data)
    shared = len(request_bytes.read), len(request_bytes.written)

    other = a_request(request_id="other", payload=b"another", bytes_in=1)

    assert request_bytes.request_from_layout(written(other)) == other
    assert (len(request_bytes.read), len(request_bytes.written)) == shared


@pytest.mark.parametrize(
    "changes",
    [
        {"units": Units(input_characters=-1)},
        {"bytes_in": -1},
        {"cost": 2**32},
        {"session": "\ud800"},
        {"account": "\ud800"},
    ],
    ids=str,
)
def test_what_no_envelope_can_hold_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - protobuf's own words
        written(a_request(**changes))


def test_whatever_comes_little_is_kept() -> None:
    for number in range(remembering.MOST + 10):
        assert request_from_bytes(written(a_request(account=str(number)))).account == str(number)
        assert len(request_bytes.read) <= remembering.MOST
        assert len(request_bytes.written) <= remembering.MOST
    sizes = len(request_bytes.read), len(request_bytes.written)

    long = a_request(visited_colos=("x" * remembering.LONGEST,))

    assert request_from_bytes(written(long)) == long
    assert (len(request_bytes.read), len(request_bytes.written)) == sizes


def test_attributes_are_all_there_is_to_copy() -> None:
    own = {"over_unix_socket"}  # said by who received it
    assert set(attributes(a_request())) == set(FULL) | own
