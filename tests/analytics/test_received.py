"""Batches read into columns: they say what the codec says, whatever is in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from libs.common.events.codec import (
    INFERENCE_KIND,
    INFERENCE_NODE,
    INFERENCE_SLOTS,
    BrokenEvent,
    decode_many,
    encode,
)
from libs.common.events.values import Batch, Event, InferenceEvent, LifecycleEvent
from services.analytics.received import FEWEST, Received, read_events
from services.analytics.stores.columns import fresh
from services.analytics.texts import Unusual
from services.analytics.unpacking import Unpacker
from tests.analytics.support import event
from tests.libs.events import texts, valid

FIRST = 7
SERVER = "ams-0"


def body(events: list[Event], *, first: int = FIRST) -> bytes:
    return b"".join(
        encode(each, server=SERVER, boot_epoch=3, sequence=number)
        for number, each in enumerate(events, first)
    )


def batch(events: Any, first: int = FIRST) -> Batch:
    return Batch(server=SERVER, boot_epoch=3, first_sequence=first, events=events)


def same_tables(data: bytes, count: int, *, seen: int = 0) -> None:
    """Columns straight from the bytes are those of the structs."""
    structs = decode_many(data, first_sequence=FIRST, count=count)
    received = read_events(data, first_sequence=FIRST, count=count)
    assert list(received) == list(structs)
    source = {(SERVER, 3, ""): seen}
    wanted = fresh([batch(structs)], source).columns()
    found = fresh([batch(received)], source).columns()
    for one, other in zip(wanted, found, strict=True):
        assert one.keys() == other.keys()
        order = other["sequence"].argsort() if other else []
        for name, column in one.items():
            assert column.dtype == other[name].dtype
            assert column.tolist() == other[name][order].tolist(), name


# Few are made anew, for speed; the others are as they are but for a text and a number.
POOLS = st.lists(valid(InferenceEvent) | valid(LifecycleEvent), min_size=1, max_size=3)
TEXTS = st.sampled_from(["", "a", "abcdefg", "abcdefgh", "ü", "\0", "a\0"]) | texts()
PICKS = st.tuples(st.integers(0, 5), TEXTS, st.integers(0, 2**64 - 1))


def picked(pool: list[Any], pick: tuple[int, str, int]) -> Event:
    at, text, number = pick
    base = pool[at % len(pool)]
    if isinstance(base, LifecycleEvent):
        return base
    visited = base.visited_colos if at > 4 else ()
    return replace(base, finetune=text, tokens_in=number, visited_colos=visited)


@given(POOLS, st.lists(PICKS, min_size=FEWEST, max_size=2 * FEWEST), st.integers(0, 40))
@settings(max_examples=25)
def test_columns_are_those_of_the_structs(
    pool: list[Any], picks: list[tuple[int, str, int]], seen: int
) -> None:
    events = [picked(pool, pick) for pick in picks]

    same_tables(body(events), len(events), seen=seen)


def test_usual_events_are_read_into_columns() -> None:
    events: list[Event] = [event(number, endpoint=f"h{number % 3}:1") for number in range(100)]
    events[40] = event(40, visited_colos=("lhr",))
    events[60] = LifecycleEvent(begin_ts=5)
    data = body(events)

    received = read_events(data, first_sequence=FIRST, count=100)

    assert isinstance(received, Received)
    assert len(received.at) == 98
    assert dict(received.others) == {40: events[40], 60: events[60]}
    assert repr(received) == "<Received 100 events, 98 of them in columns>"
    assert (len(received), received[3], received.count(None)) == (100, events[3], 0)
    same_tables(data, 100)
    same_tables(data, 100, seen=50)


def test_columns_are_made_without_structs() -> None:
    received = read_events(body([event(n) for n in range(100)]), first_sequence=FIRST, count=100)

    inferences, _ = fresh([batch(received)], {}).columns()

    assert isinstance(received, Received)
    assert len(inferences["sequence"]) == len(received) == 100
    assert received.count(None) == 0
    assert not received.has_structs


def test_shared_texts_are_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.analytics.texts.MOST_ALIKE", 3 * FEWEST)
    unpacker = Unpacker(INFERENCE_NODE, slots=INFERENCE_SLOTS, kind=INFERENCE_KIND)

    for models in ("a", "b", "c", "a", "d"):
        events: list[Event] = [
            event(n, model_id=f"{models}{n}", client_request_id=f"{n}") for n in range(2 * FEWEST)
        ]
        read = unpacker.unpack(body(events), first_sequence=FIRST, count=len(events)).columns
        for name in ("model_id", "account_id", "request_id", "client_request_id", "endpoint"):
            assert read[name].tolist() == [getattr(each, name) for each in events]

    with pytest.raises(Unusual):
        many: list[Event] = [event(n) for n in range(4 * FEWEST)]
        unpacker.unpack(body(many), first_sequence=FIRST, count=len(many))


def test_a_few_events_are_read_one_by_one() -> None:
    events: list[Event] = [event(number) for number in range(FEWEST - 1)]

    assert read_events(body(events), first_sequence=FIRST, count=len(events)) == tuple(events)


BYTES = st.tuples(st.integers(0, 10_000), st.integers(0, 255))


@given(st.lists(BYTES, min_size=1, max_size=6), st.just(0) | st.integers(0, 30))
@settings(max_examples=60)
def test_damaged_bytes_are_refused_or_read_as_the_codec_does(
    damage: list[tuple[int, int]], cut: int
) -> None:
    events: list[Event] = [event(n, endpoint=f"h{n % 3}:1") for n in range(FEWEST)]
    data = bytearray(body(events))
    for at, value in damage:
        data[at % len(data)] = value
    damaged = bytes(data[: len(data) - cut])
    try:
        structs = decode_many(damaged, first_sequence=FIRST, count=FEWEST)
    except BrokenEvent:
        with pytest.raises(BrokenEvent):
            read_events(damaged, first_sequence=FIRST, count=FEWEST)
    else:
        found = read_events(damaged, first_sequence=FIRST, count=FEWEST)
        if None not in structs:
            same_tables(damaged, FEWEST)
        assert found.count(None) == structs.count(None)
