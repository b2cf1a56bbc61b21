"""Our server against frames that no real client can be made to send."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.lean import frames
from libs.lean.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    ErrorCode,
    frame,
)
from libs.lean.headers import encode
from tests.lean.support import HANG
from tests.lean.wire import (
    LARGE_BLOCK,
    REQUEST,
    ServerWire,
    answers,
    data,
    headers,
    message,
    request,
)


async def test_a_plain_request_is_answered_in_one_write() -> None:
    wire = ServerWire()

    wire.feed(request())

    first, second, third = wire.sent()
    assert wire.fields(first[3]) == {":status": "200", "content-type": "application/grpc"}
    assert second == (DATA, 0, 1, message(b"hello"))
    assert third[:3] == (HEADERS, END_HEADERS | END_STREAM, 1)
    assert wire.fields(third[3]) == {"grpc-status": "0"}


async def test_what_comes_may_be_cut_anywhere() -> None:
    whole = request(b"one") + request(b"two", 3) + frame(PING, 0, 0, b"12345678")
    for cut in range(1, len(whole)):
        wire = ServerWire()

        wire.feed(whole[:cut])
        wire.feed(whole[cut:])

        assert answers(wire) == {1: message(b"one"), 3: message(b"two")}


async def test_what_comes_may_come_byte_by_byte() -> None:
    wire = ServerWire(begun=False)

    for byte in frames.PREFACE + frames.settings([]) + request():
        wire.feed(bytes((byte,)))

    assert answers(wire) == {1: message(b"hello")}


@given(cuts=st.lists(st.integers(1, 30), max_size=12))
def test_a_message_may_be_spread_over_frames_anyhow(cuts: list[int]) -> None:
    async def spread() -> None:
        wire = ServerWire()
        rest = message(b"a message of some length")
        pieces = []
        for cut in cuts:
            pieces.append(rest[:cut])
            rest = rest[cut:]
        wire.feed(headers(REQUEST), *map(data, pieces), data(rest, end=True))
        assert answers(wire) == {1: message(b"a message of some length")}

    asyncio.run(spread())


async def test_padding_is_taken_off_and_counted() -> None:
    wire = ServerWire()
    block = encode(REQUEST)
    padded = frame(HEADERS, END_HEADERS | PADDED, 1, b"\x07" + block + bytes(7))
    body = frame(DATA, END_STREAM | PADDED, 1, b"\xff" + message(b"hello") + bytes(255))

    wire.feed(padded, body)

    assert answers(wire) == {1: message(b"hello")}


@pytest.mark.parametrize("kind", [DATA, HEADERS])
async def test_more_padding_than_payload_ends_the_connection(kind: int) -> None:
    wire = ServerWire()

    wire.feed(headers(REQUEST), frame(kind, PADDED | END_HEADERS, 1, b"\x03ab"))

    assert wire.goaway_code() == ErrorCode.PROTOCOL_ERROR


async def test_priorities_are_ignored() -> None:
    wire = ServerWire()
    block = bytes((0x80, 0, 0, 3, 255)) + encode(REQUEST)

    wire.feed(
        frame(PRIORITY, 0, 9, bytes(5)),
        frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, block),
        data(message(b"hello"), end=True),
    )

    assert answers(wire) == {1: message(b"hello")}


async def test_a_header_block_may_be_continued() -> None:
    wire = ServerWire()
    pieces = [LARGE_BLOCK[i : i + 500] for i in range(0, len(LARGE_BLOCK), 500)]

    wire.feed(
        frame(HEADERS, 0, 1, pieces[0]),
        *(frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:]),
        frame(CONTINUATION, END_HEADERS, 1),
        data(message(b"hello"), end=True),
    )

    assert answers(wire) == {1: message(b"hello")}


@pytest.mark.parametrize(
    "between",
    [frame(PING, 0, 0, bytes(8)), frame(CONTINUATION, 4, 3), data(b""), frame(99, 0, 0)],
    ids=["PING", "another stream's", "DATA", "unknown"],
)
async def test_nothing_may_come_between_a_block_and_its_continuation(between: bytes) -> None:
    wire = ServerWire()

    wire.feed(frame(HEADERS, 0, 1, LARGE_BLOCK), between)

    assert wire.goaway_code() == ErrorCode.PROTOCOL_ERROR


async def test_a_block_without_end_ends_the_connection() -> None:
    wire = ServerWire()

    wire.feed(frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1, b"") * 40)

    assert wire.goaway_code() == ErrorCode.ENHANCE_YOUR_CALM


async def test_an_enormous_block_ends_the_connection() -> None:
    wire = ServerWire()

    wire.feed(frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1, bytes(16_000)) * 5)

    assert wire.goaway_code() == ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ((frame(SETTINGS, 0, 1),), ErrorCode.PROTOCOL_ERROR),
        ((frame(SETTINGS, 0, 0, bytes(5)),), ErrorCode.FRAME_SIZE_ERROR),
        ((frame(SETTINGS, 1, 0, bytes(6)),), ErrorCode.FRAME_SIZE_ERROR),
        ((frames.settings([(4, 1 << 31)]),), ErrorCode.FLOW_CONTROL_ERROR),
        ((frames.settings([(5, 100)]),), ErrorCode.PROTOCOL_ERROR),
        ((frames.settings([(2, 2)]),), ErrorCode.PROTOCOL_ERROR),
        ((frame(PING, 0, 1, bytes(8)),), ErrorCode.PROTOCOL_ERROR),
        ((frame(PING, 0, 0, bytes(7)),), ErrorCode.FRAME_SIZE_ERROR),
        ((frame(GOAWAY, 0, 1, bytes(8)),), ErrorCode.PROTOCOL_ERROR),
        ((frame(GOAWAY, 0, 0, bytes(7)),), ErrorCode.FRAME_SIZE_ERROR),
        ((frame(RST_STREAM, 0, 1, bytes(4)),), ErrorCode.PROTOCOL_ERROR),
        ((request(), frame(RST_STREAM, 0, 1, bytes(3))), ErrorCode.FRAME_SIZE_ERROR),
        ((frame(WINDOW_UPDATE, 0, 0, bytes(4)),), ErrorCode.PROTOCOL_ERROR),
        ((frame(WINDOW_UPDATE, 0, 0, bytes(3)),), ErrorCode.FRAME_SIZE_ERROR),
        ((frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"),), ErrorCode.PROTOCOL_ERROR),
        ((frames.window_update(0, 0x7FFFFFFF),), ErrorCode.FLOW_CONTROL_ERROR),
        ((frame(PUSH_PROMISE, 4, 1, bytes(4)),), ErrorCode.PROTOCOL_ERROR),
        ((frame(CONTINUATION, 4, 1),), ErrorCode.PROTOCOL_ERROR),
        ((frame(PRIORITY, 0, 0, bytes(5)),), ErrorCode.PROTOCOL_ERROR),
        ((data(b"", 1),), ErrorCode.PROTOCOL_ERROR),
        ((data(b"", 0),), ErrorCode.PROTOCOL_ERROR),
        ((headers(REQUEST, 2),), ErrorCode.PROTOCOL_ERROR),
        ((request(stream_id=5), headers(REQUEST, 3)), ErrorCode.PROTOCOL_ERROR),
        ((request(), headers(REQUEST, 1)), ErrorCode.STREAM_CLOSED),
        ((request(), data(b"")), ErrorCode.STREAM_CLOSED),
        ((frame(DATA, 0, 1, bytes(16_385)),), ErrorCode.FRAME_SIZE_ERROR),
        ((frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"ab"),), ErrorCode.FRAME_SIZE_ERROR),
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection(
    pieces: Sequence[bytes], code: ErrorCode
) -> None:
    wire = ServerWire()

    for piece in pieces:
        wire.feed(piece)

    assert wire.goaway_code() == code
    assert wire.transport.closed
    wire.feed(request(stream_id=9))  # nothing happens any more


async def test_a_stream_may_not_be_used_after_its_end() -> None:
    wire = ServerWire()
    wire.feed(request(path=HANG.path), data(b"more"))

    assert wire.reset_code() == ErrorCode.STREAM_CLOSED
    assert len(wire.handlers.calls) == 0


async def test_a_request_reset_in_the_same_breath_is_not_handled() -> None:
    wire = ServerWire()

    wire.feed(request(), frames.rst_stream(1, ErrorCode.CANCEL))

    assert wire.handlers.calls == []


async def test_late_frames_of_a_reset_stream_are_ignored() -> None:
    wire = ServerWire()
    wire.feed(headers([*REQUEST, ("connection", "close")]))
    assert wire.reset_code() == ErrorCode.PROTOCOL_ERROR

    wire.feed(data(message(b"late")), headers([("x-late", "1")], end=True))
    wire.feed(frames.window_update(1, 5), frames.rst_stream(1, 8), request(stream_id=3))

    assert answers(wire) == {3: message(b"hello")}


async def test_unknown_frames_and_settings_are_ignored() -> None:
    wire = ServerWire()

    wire.feed(frame(200, 255, 7, b"what"), frames.settings([(77, 1)]), request())

    assert answers(wire) == {1: message(b"hello")}


async def test_a_ping_is_answered() -> None:
    wire = ServerWire()

    wire.feed(frame(PING, 0, 0, b"12345678"))

    assert wire.sent() == [(PING, 1, 0, b"12345678")]


async def test_a_lost_connection_cancels_its_calls() -> None:
    wire = ServerWire()
    wire.feed(request(path=HANG.path), request(stream_id=3, path=HANG.path))

    wire.transport.lose()

    assert len(wire.handlers.cancelled) == 2


async def test_a_mistake_in_on_cancel_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    wire = ServerWire()
    wire.feed(request(path=HANG.path), request(stream_id=3, path=HANG.path))

    def mistaken() -> None:
        raise KeyError("mistake")

    wire.handlers.calls[0].on_cancel = mistaken

    wire.transport.lose()

    assert wire.handlers.cancelled == wire.handlers.calls[1:]
    assert "mistake" in caplog.text
