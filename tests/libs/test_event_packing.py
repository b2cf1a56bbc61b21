"""Usual events are packed: into bytes that pycapnp reads as those that it writes itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from libs.common.events import codec
from libs.common.events.codec import decode, encode, encode_unusual
from libs.common.events.framing import LENGTH, decode_batch, encode_batch
from libs.common.events.occurrences import COMMON, OWN, Occurrence
from libs.common.events.values import InferenceEvent
from tests.libs.events import IDENTITY, USUAL, texts, valid


def occurrence(event: InferenceEvent) -> Occurrence:
    """Return an event as it is emitted."""
    return Occurrence(
        event.request_id,
        common=tuple(getattr(event, name) for name in COMMON),
        own=tuple(getattr(event, name) for name in OWN),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"task": "", "model_id": ""},
        {"task": "é" * 127, "request_id": "r" * 255},
        {"task": "x" * 256},
        {"task": "1234567"},
        {"task": "12345678"},
        {"visited_colos": ("fra", "lhr")},
    ],
    ids=[
        "typical",
        "empty texts",
        "longest texts",
        "a longer text",
        "a text that fills its word",
        "a text with a word for its end",
        "with a list",
    ],
)
def test_pycapnp_reads_what_was_packed_as_what_it_wrote_itself(changes: dict[str, Any]) -> None:
    usual = replace(USUAL, **changes)

    packed = decode(encode(usual, **IDENTITY))

    assert packed == decode(encode_unusual(usual, **IDENTITY))
    assert packed.event == usual
    assert (packed.server, packed.boot_epoch, packed.sequence) == tuple(IDENTITY.values())


def test_a_typical_event_is_packed_and_no_longer_than_pycapnp_makes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = encode_unusual(USUAL, server="ams-0", boot_epoch=1, sequence=1)

    def never(*_: object) -> None:
        raise AssertionError("the slow way")

    monkeypatch.setattr(codec, "_new", never)

    assert len(encode(USUAL, server="ams-0", boot_epoch=1, sequence=1)) == len(theirs)


@given(valid(InferenceEvent), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), texts())
def test_both_ways_to_write_an_event_read_the_same(
    event: InferenceEvent, boot_epoch: int, sequence: int, server: str
) -> None:
    data = encode(event, server=server, boot_epoch=boot_epoch, sequence=sequence)
    theirs = encode_unusual(event, server=server, boot_epoch=boot_epoch, sequence=sequence)

    assert decode(data) == decode(theirs)


@given(st.lists(valid(InferenceEvent), min_size=2, max_size=4))
def test_events_written_into_copies_of_others_read_as_themselves(
    events: list[InferenceEvent],
) -> None:
    first = replace(events[0], request_id="A" * 26, client_request_id="", traceparent="")
    alike = [
        replace(first, **{name: getattr(each, name) for name in OWN}, request_id=number * 26)
        for number, each in zip("BCDE", events, strict=False)
    ]
    for sequence, each in enumerate((first, *alike, first), 1):
        written = encode(occurrence(each), server="ams-0", boot_epoch=1, sequence=sequence)

        assert decode(written).event == each
        assert decode(written).sequence == sequence


@given(valid(InferenceEvent))
def test_what_occurs_once_reads_as_its_event(event: InferenceEvent) -> None:
    assert occurrence(event).event() == event
    assert decode(encode(occurrence(event), **IDENTITY)).event == event


@pytest.mark.parametrize(
    ("changes", "read"),
    [
        ({"neurons": -0.5}, {"neurons": 0.0}),
        ({"neurons": float("nan")}, {"neurons": 0.0}),
        ({"tokens_in": -1}, {"tokens_in": 0}),
        ({"tokens_in": 2**64}, {"tokens_in": 2**64 - 1}),
        ({"task": "a\ud800b"}, {"task": "a?b"}),
        ({"visited_colos": ["fra"]}, {"visited_colos": ("fra",)}),
    ],
)
def test_what_occurs_with_values_out_of_range_is_clamped(
    changes: dict[str, Any], read: dict[str, Any]
) -> None:
    for each in (USUAL, replace(USUAL, **changes)):  # the first one is a template for the other
        written = encode(occurrence(each), server="ams-0", boot_epoch=1, sequence=1)

    assert decode(written).event == replace(USUAL, **read)


def test_packed_events_read_in_a_row() -> None:
    events = [replace(USUAL, task="x" * number, cost=number) for number in range(20)]
    messages = [
        encode(each, server="ams-0", boot_epoch=1, sequence=number)
        for number, each in enumerate(events, 1)
    ]

    frame = encode_batch(messages, server="ams-0", boot_epoch=1, first_sequence=1)

    assert decode_batch(frame[LENGTH.size :], max_events=20).events == tuple(events)
