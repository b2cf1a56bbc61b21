"""The events' codec: what comes back, what is clamped, and what another version reads."""

from __future__ import annotations

from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import capnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from libs.common.events import packing
from libs.common.events.codec import (
    MAX_EVENT_BYTES,
    BrokenEvent,
    decode,
    encode,
)
from libs.common.events.codec import schema as our_schema
from libs.common.events.framing import (
    LENGTH,
    BrokenFrame,
    decode_ack,
    decode_batch,
    encode_ack,
    encode_batch,
)
from libs.common.events.values import Ack, Event, Flag, InferenceEvent, LifecycleEvent
from tests.libs.events import USUAL, valid


def round_trip(event: Event) -> Event | None:
    return decode(encode(event, server="ams-0", boot_epoch=1, sequence=1)).event


JUNK = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=300),  # with lone surrogates
    st.booleans(),
    st.binary(max_size=8),
    st.lists(st.binary(max_size=8)),
    st.lists(st.one_of(st.text(max_size=300), st.none()), max_size=40),
    st.just(Decimal("1.5")),
    st.just(object()),
)


@given(valid(InferenceEvent))
def test_an_inference_event_comes_back_as_it_was(event: InferenceEvent) -> None:
    assert round_trip(event) == event


@given(valid(LifecycleEvent))
def test_a_lifecycle_event_comes_back_as_it_was(event: LifecycleEvent) -> None:
    assert round_trip(event) == event


@given(st.fixed_dictionaries({field.name: JUNK for field in fields(InferenceEvent)}))
@settings(max_examples=200)
def test_no_value_makes_encoding_fail(values: dict[str, Any]) -> None:
    data = encode(InferenceEvent(**values), server="ams-0", boot_epoch=1, sequence=1)

    assert len(data) < 2 * MAX_EVENT_BYTES
    assert isinstance(decode(data).event, InferenceEvent)


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        pytest.param("hops", 300, 255, id="too large for its field"),
        pytest.param("tokens_in", -1, 0, id="negative"),
        pytest.param("tokens_in", 2**70, 2**64 - 1, id="larger than any integer"),
        pytest.param("tokens_in", float("inf"), 2**64 - 1, id="an infinite integer"),
        pytest.param("tokens_in", float("nan"), 0, id="no integer"),
        pytest.param("tokens_in", None, 0, id="None for a number"),
        pytest.param("tokens_in", 2.7, 2, id="a fraction"),
        pytest.param("neurons", float("nan"), 0.0, id="no number"),
        pytest.param("neurons", float("inf"), 0.0, id="an infinite number"),
        pytest.param("neurons", -0.5, 0.0, id="a negative number"),
        pytest.param("neurons", 10**400, 0.0, id="a number larger than any float"),
        pytest.param("neurons", 3, 3.0, id="an integer for a float"),
        pytest.param("task", None, "", id="None for a text"),
        pytest.param("request_id", None, "", id="None for the id"),
        pytest.param("task", b"\x80", "", id="bytes for a text"),
        pytest.param("visited_colos", (b"\x80", "ams"), ("", "ams"), id="bytes in a list"),
        pytest.param("task", "a\ud800b", "a?b", id="a lone surrogate"),
        pytest.param("task", "x" * 20_000, "x" * 128, id="a text too long for any event"),
        pytest.param("request_source", 77, 0, id="an unknown source"),
        pytest.param("visited_colos", None, (), id="None for a list"),
        pytest.param("visited_colos", ("x" * 999,) * 99, ("x" * 128,) * 16, id="a long list"),
        pytest.param("flags", Flag.STREAMED | Flag.FORWARDED, 65, id="flags"),
    ],
)
def test_values_out_of_range_are_clamped(field: str, value: Any, kept: Any) -> None:
    values: dict[str, Any] = {
        "account_id": "a",
        "model_id": "m",
        "request_id": "r",
        "timestamp_ms": 5,
    }

    event = round_trip(InferenceEvent(**(values | {field: value})))

    assert getattr(event, field) == kept
    assert isinstance(event, InferenceEvent)
    assert (event.account_id, event.timestamp_ms) == ("a", 5)


def test_more_shapes_than_are_kept_are_packed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_SHAPES", 2)

    for number in [*range(9), *range(9)]:
        event = replace(USUAL, task="x" * number)
        assert round_trip(event) == event


def test_every_field_of_the_schema_is_in_the_values_and_the_other_way_round() -> None:
    for cls, struct in (
        (InferenceEvent, our_schema.InferenceEvent),
        (LifecycleEvent, our_schema.LifecycleEvent),
    ):
        snake = {
            "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
            for name in struct.schema.fieldnames
        }

        assert {field.name for field in fields(cls)} == snake


def test_the_flags_are_those_of_the_schema() -> None:
    text = (files("libs.common.events") / "event.capnp").read_text()
    bits = [line.split() for line in text.splitlines() if line.strip().startswith("const ")]

    in_schema = {name.lower(): int(number.rstrip(";")) for _, name, _, _, number, *_ in bits}
    in_values = {flag.name.replace("_", "").lower(): flag.value for flag in Flag if flag.name}

    assert in_schema == in_values


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The schema of a later version: a new field, a new kind of event, a new source."""
    text = (files("libs.common.events") / "event.capnp").read_text()
    for old, new in (
        ("@0xd7a1c5f0b83e9264", "@0xd7a1c5f0b83e9265"),
        ("lifecycle @5 :LifecycleEvent;", "lifecycle @5 :LifecycleEvent; other @6 :Text;"),
        ("rest          @3;", "rest @3; queue @4;"),
        ("  shardEpoch      @43 :UInt64;", "  shardEpoch @43 :UInt64; mood @44 :Text;"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = tmp_path_factory.mktemp("schema") / "newer.capnp"
    path.write_text(text)
    return capnp.load(str(path))


def test_an_older_reader_reads_a_newer_event(newer: Any) -> None:
    message = newer.Event.new_message(schemaVersion=2, server="ams-0", bootEpoch=1, sequence=9)
    inference = message.init("inference")
    inference.modelId, inference.shardEpoch = "m", 7
    inference.mood, inference.requestSource = "good", "queue"

    event = decode(message.to_bytes()).event

    assert isinstance(event, InferenceEvent)
    assert (event.model_id, event.shard_epoch, event.request_source) == ("m", 7, 4)


def test_a_newer_reader_reads_an_older_event(tmp_path: Path) -> None:
    text = (files("libs.common.events") / "event.capnp").read_text()
    older = text.replace("@0xd7a1c5f0b83e9264", "@0xd7a1c5f0b83e9266")
    older = older.replace("  shardEpoch      @43 :UInt64;", "")
    older = older.replace("    lifecycle @5 :LifecycleEvent;\n", "    other @5 :Text;\n")
    assert "@43" not in older
    path = tmp_path / "older.capnp"
    path.write_text(older)
    message = capnp.load(str(path)).Event.new_message(server="ams-0", bootEpoch=1, sequence=9)
    message.init("inference").modelId = "m"

    event = decode(message.to_bytes()).event

    assert isinstance(event, InferenceEvent)
    assert (event.model_id, event.shard_epoch, event.attempt) == ("m", 0, 0)  # not told


def test_a_kind_from_the_future_is_passed_over_and_keeps_its_place(newer: Any) -> None:
    message = newer.Event.new_message(schemaVersion=2, server="ams-0", bootEpoch=1, sequence=2)
    message.other = "something"
    known = LifecycleEvent(begin_ts=1)
    messages = [
        encode(known, server="ams-0", boot_epoch=1, sequence=1),
        message.to_bytes(),
        encode(known, server="ams-0", boot_epoch=1, sequence=3),
    ]

    frame = encode_batch(messages, server="ams-0", boot_epoch=1, first_sequence=1)

    assert decode_batch(frame[LENGTH.size :], max_events=3).events == (known, None, known)


def batch_frame(count: int = 3) -> bytes:
    messages = [
        encode(LifecycleEvent(begin_ts=n), server="ams-0", boot_epoch=4, sequence=10 + n)
        for n in range(count)
    ]
    return encode_batch(messages, server="ams-0", boot_epoch=4, first_sequence=10)


def test_a_batch_says_whose_it_is_and_where_it_begins() -> None:
    frame = batch_frame()

    batch = decode_batch(frame[LENGTH.size :], max_events=3)

    assert LENGTH.unpack_from(frame) == (len(frame) - LENGTH.size,)
    assert (batch.server, batch.boot_epoch, batch.first_sequence) == ("ams-0", 4, 10)
    assert batch.last_sequence == 12
    assert [event.begin_ts for event in batch.events if isinstance(event, LifecycleEvent)] == [
        0,
        1,
        2,
    ]


BODY = batch_frame()[LENGTH.size :]
HEADER_END = LENGTH.size + LENGTH.unpack_from(BODY)[0]
ONE_EVENT = encode(LifecycleEvent(begin_ts=1), server="ams-0", boot_epoch=4, sequence=13)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00\x00\x00\x00", id="no header"),
        pytest.param(b"\xff" * 64, id="a header longer than the batch"),
        pytest.param(BODY[:HEADER_END], id="no events"),
        pytest.param(BODY[:-8], id="a cut event"),
        pytest.param(BODY[:-3], id="a cut word"),
        pytest.param(BODY + ONE_EVENT, id="an event too many"),
        pytest.param(BODY[:HEADER_END] + ONE_EVENT * 3, id="events out of sequence"),
        pytest.param(BODY[:HEADER_END] + b"\xff" * 400, id="noise for events"),
    ],
)
def test_a_broken_batch_is_refused(body: bytes) -> None:
    with pytest.raises(BrokenFrame):
        decode_batch(body, max_events=3)


@pytest.mark.parametrize("name", ["", "x" * 129], ids=["empty", "long"])
def test_a_batch_of_a_server_without_a_proper_name_is_refused(name: str) -> None:
    message = encode(LifecycleEvent(begin_ts=1), server=name, boot_epoch=4, sequence=1)
    frame = encode_batch([message], server=name, boot_epoch=4, first_sequence=1)

    with pytest.raises(BrokenFrame, match="name"):
        decode_batch(frame[LENGTH.size :], max_events=1)


def test_a_batch_of_too_many_events_is_refused() -> None:
    with pytest.raises(BrokenFrame, match="3 events"):
        decode_batch(BODY, max_events=2)


@given(st.binary(max_size=600), st.integers(0, len(BODY)))
def test_noise_is_refused_and_does_no_harm(noise: bytes, at: int) -> None:
    for body in (noise, BODY[:at] + noise + BODY[at + len(noise) :]):
        try:
            decode_batch(body, max_events=10)
        except BrokenFrame:
            continue


@given(st.binary(max_size=200))
def test_noise_is_no_event_and_no_acknowledgement(noise: bytes) -> None:
    for read, refusal in ((decode, BrokenEvent), (decode_ack, BrokenFrame)):
        try:
            read(noise)
        except refusal:
            continue


def test_an_acknowledgement_comes_back_as_it_was() -> None:
    ack = Ack(server="ams-0", boot_epoch=2**63, last_sequence=12)

    assert decode_ack(encode_ack(ack)[LENGTH.size :]) == ack
