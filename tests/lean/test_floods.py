"""Peers that cost more than they should are told so, and left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from libs.lean import Limits, frames
from libs.lean.frames import (
    CONTINUATION,
    HEADERS,
    PING,
    PRIORITY,
    SETTINGS,
    ErrorCode,
    frame,
)
from libs.lean.limits import Rate
from tests.lean.support import HANG, serving
from tests.lean.wire import REQUEST, ClientWire, ServerWire, data, headers, request

FLOODS: dict[str, Callable[[int], bytes]] = {
    "rapid reset": lambda i: (
        request(stream_id=2 * i + 1, path=HANG.path)
        + frames.rst_stream(2 * i + 1, ErrorCode.CANCEL)
    ),
    "malformed requests": lambda i: headers([("x", "y")], 2 * i + 1),
    "windows of nothing": lambda i: headers(REQUEST, 2 * i + 1) + frame(8, 0, 2 * i + 1, bytes(4)),
    "SETTINGS": lambda _: frames.settings([]),
    "SETTINGS ACK": lambda _: frame(SETTINGS, 1, 0),
    "PING": lambda _: frame(PING, 0, 0, bytes(8)),
    "PRIORITY": lambda i: frame(PRIORITY, 0, 2 * i + 1, bytes(5)),
    "unknown frames": lambda _: frame(77, 0, 0, b"?"),
    "GOAWAY": lambda _: frames.goaway(0, 0),
    "empty DATA": lambda i: data(b"") if i else headers(REQUEST),
    "empty CONTINUATION": lambda i: frame(CONTINUATION if i else HEADERS, 0, 1),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_flood_ends_the_connection(flood: Callable[[int], bytes]) -> None:
    wire = ServerWire(Limits(max_resets_per_s=200, max_control_per_s=200))

    for i in range(2000):
        if wire.transport.closed:
            break
        wire.feed(flood(i))

    assert wire.goaway_code() == ErrorCode.ENHANCE_YOUR_CALM
    assert i < 1000
    assert not wire.protocol.streams


@pytest.mark.parametrize("flood", ["PING", "SETTINGS", "empty DATA"])
async def test_a_client_bears_no_floods_either(flood: str) -> None:
    wire = ClientWire(Limits(max_control_per_s=200))

    for i in range(2000):
        if wire.transport.closed:
            break
        wire.feed(FLOODS[flood](max(i, 1)) if flood != "empty DATA" else FLOODS["PING"](i))

    assert wire.goaway_code() == ErrorCode.ENHANCE_YOUR_CALM


async def test_answers_that_are_not_read_have_an_end() -> None:
    wire = ServerWire(Limits(max_unsent_control=50, max_control_per_s=100_000))
    wire.protocol.pause_writing()

    for _ in range(60):
        wire.feed(frame(PING, 0, 0, bytes(8)))

    assert wire.transport.closed


async def test_refusals_that_are_not_read_have_an_end() -> None:
    wire = ServerWire(Limits(max_unsent_control=50, max_streams=1))
    wire.feed(request(path=HANG.path))
    wire.protocol.pause_writing()

    for i in range(1, 80):
        wire.feed(headers(REQUEST, 2 * i + 1))

    assert wire.transport.closed


async def test_what_is_just_allowed_goes_on() -> None:
    wire = ServerWire(Limits(max_control_per_s=200))

    wire.feed(frame(PING, 0, 0, bytes(8)) * 150)

    assert wire.kinds() == [PING] * 150
    assert not wire.transport.closed


def test_a_rate_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("libs.lean.limits.time.monotonic", lambda: now)
    rate = Rate(10)
    assert [rate.exceeded() for _ in range(12)] == [False] * 10 + [True] * 2

    now = 100.5

    assert [rate.exceeded() for _ in range(5)].count(False) >= 2
    now = 200.0
    assert [rate.exceeded() for _ in range(12)].count(False) <= 11


async def test_who_connects_and_says_nothing_is_sent_away() -> None:
    async with serving(limits=Limits(connect_s=0.1)) as (address, _):
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))

        said = await asyncio.wait_for(reader.read(), 3)

        assert said[9 * 0 + 3] == SETTINGS
        writer.close()


async def test_who_speaks_http1_is_sent_away() -> None:
    async with serving() as (address, _):
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

        await asyncio.wait_for(reader.read(), 3)

        writer.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"connection_window": 1000},
        {"connection_window": 1 << 31},
        {"stream_window": 0},
        {"max_frame_bytes": 1000},
        {"header_table_bytes": 100_000},
    ],
)
def test_limits_that_http2_cannot_express_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)
