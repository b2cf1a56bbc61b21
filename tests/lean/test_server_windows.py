"""Our server's windows, both ways, to the byte."""

from __future__ import annotations

from libs.lean import Limits, frames
from libs.lean.frames import (
    DATA,
    HEADERS,
    WINDOW_UPDATE,
    ErrorCode,
)
from tests.lean.support import COUNT, ENDLESS, HANG
from tests.lean.wire import REQUEST, ServerWire, answers, data, headers, message, request


async def test_the_initial_window_is_kept_to() -> None:
    wire = ServerWire()
    wire.feed(frames.settings([(4, 3)]), request())
    assert answers(wire) == {1: message(b"hello")[:3]}

    wire.feed(frames.window_update(1, 4))
    assert answers(wire) == {1: message(b"hello")[3:7]}
    wire.feed(frames.settings([(4, 6)]))  # three more, for streams that are open, too

    *_, last = sent = wire.sent()
    assert b"".join(payload for kind, *_, payload in sent if kind == DATA) == b"llo"
    assert last[0] == HEADERS


async def test_a_window_may_be_negative() -> None:
    wire = ServerWire()
    wire.feed(frames.settings([(4, 8)]), request())
    assert answers(wire) == {1: message(b"hello")[:8]}

    wire.feed(frames.settings([(4, 3)]))  # the window is at -5
    wire.feed(frames.window_update(1, 5))
    assert answers(wire) == {}
    wire.feed(frames.window_update(1, 1))
    assert answers(wire) == {1: b"l"}
    wire.feed(frames.window_update(1, 10))
    assert answers(wire) == {1: b"o"}


async def test_a_window_may_turn_negative_while_data_waits_for_another_reason() -> None:
    wire = ServerWire()
    wire.protocol.pause_writing()
    wire.feed(request(), frames.settings([(4, 0)]), frames.window_update(1, 3))
    wire.sent()

    wire.feed(frames.settings([(4, 10)]), frames.settings([(4, 5)]), frames.settings([(4, 0)]))
    wire.feed(frames.window_update(0, 1))
    wire.protocol.resume_writing()
    assert answers(wire) == {1: message(b"hello")[:3]}

    wire.protocol.pause_writing()
    wire.feed(frames.window_update(1, 2), frames.settings([(4, 5)]), frames.settings([(4, 0)]))
    wire.feed(frames.settings([(4, 1)]), frames.settings([(4, 0)]), frames.window_update(1, 20))
    wire.protocol.resume_writing()
    assert answers(wire) == {1: message(b"hello")[3:]}


async def test_a_window_below_zero_sends_nothing_when_the_way_is_free_again() -> None:
    wire = ServerWire()
    wire.feed(frames.settings([(4, 100)]), request(bytes(200)))
    wire.feed(frames.window_update(1, 50))
    wire.sent()
    wire.protocol.pause_writing()
    wire.feed(frames.window_update(1, 10), frames.settings([(4, 0)]))

    wire.protocol.resume_writing()
    assert answers(wire) == {}
    wire.feed(frames.window_update(1, 200))

    assert answers(wire) == {1: bytes(55)}


async def test_settings_may_not_push_a_window_over_its_bound() -> None:
    wire = ServerWire()
    wire.feed(request(path=HANG.path), frames.window_update(1, 1000))

    wire.feed(frames.settings([(4, 0x7FFFFFFF)]))

    assert wire.goaway_code() == ErrorCode.FLOW_CONTROL_ERROR


async def test_a_streams_window_has_its_bound() -> None:
    wire = ServerWire()

    wire.feed(request(path=HANG.path), frames.window_update(1, 0x7FFFFFFF))

    assert wire.reset_code() == ErrorCode.FLOW_CONTROL_ERROR
    assert len(wire.handlers.cancelled) == 0  # it was not handled yet


async def test_the_connections_window_is_kept_to_and_shared() -> None:
    wire = ServerWire()
    wire.feed(frames.settings([(4, 1 << 20)]))
    for stream_id in (1, 3):
        wire.feed(headers(REQUEST, stream_id))
        body = message(bytes(50_000))
        for start in range(0, len(body), 16_000):
            piece = body[start : start + 16_000]
            wire.feed(data(piece, stream_id, end=start + 16_000 >= len(body)))
    sizes = {stream_id: len(body) for stream_id, body in answers(wire).items()}
    assert sum(sizes.values()) == 65_535

    wire.feed(frames.window_update(0, 1 << 20))

    rest = {stream_id: len(body) for stream_id, body in answers(wire).items()}
    assert {i: sizes[i] + rest.get(i, 0) for i in sizes} == {1: 50_005, 3: 50_005}


async def test_streams_take_turns() -> None:
    wire = ServerWire()
    wire.feed(frames.settings([(4, 1 << 20)]))
    for stream_id in (1, 3):
        wire.feed(request(b"100000", stream_id, ENDLESS.path))
    wire.sent()

    wire.feed(frames.window_update(0, 200_000))

    order = [stream_id for kind, _, stream_id, _ in wire.sent() if kind == DATA]
    assert abs(order.count(1) - order.count(3)) <= 1
    assert [1, 3, 1, 3] in (order[:4], order[1:5])


async def test_larger_frames_are_sent_to_who_takes_them() -> None:
    wire = ServerWire()
    wire.feed(frames.settings([(4, 1 << 20), (5, 40_000)]), frames.window_update(0, 1 << 20))

    wire.feed(request(b"30000", 1, COUNT.path))

    assert max(len(payload) for *_, payload in wire.sent()) == 40_000


async def test_more_data_than_allowed_resets_the_stream() -> None:
    wire = ServerWire(Limits(stream_window=1000))

    wire.feed(headers(REQUEST), data(message(bytes(2000))))

    assert wire.reset_code() == ErrorCode.FLOW_CONTROL_ERROR


async def test_the_rest_of_a_large_message_is_let_in() -> None:
    wire = ServerWire(Limits(stream_window=1000))

    wire.feed(headers(REQUEST), data(message(bytes(5000))[:1000]))
    assert (WINDOW_UPDATE, 0, 1, (4005).to_bytes(4, "big")) in wire.sent()
    wire.feed(data(message(bytes(5000))[1000:], end=True))

    assert answers(wire) == {1: message(bytes(5000))}


async def test_the_connections_window_is_given_back_as_data_comes() -> None:
    wire = ServerWire(Limits(connection_window=100_000))
    given = 0
    for stream_id in range(1, 41, 2):
        wire.feed(request(bytes(10_000), stream_id))
        given += sum(
            frames.word(payload)
            for kind, _, of, payload in wire.sent()
            if kind == WINDOW_UPDATE and not of
        )

    assert 150_000 <= given <= 20 * 10_005


async def test_more_streams_than_allowed_are_refused() -> None:
    wire = ServerWire(Limits(max_streams=2))

    wire.feed(*(request(stream_id=i, path=HANG.path) for i in (1, 3, 5)))
    assert wire.reset_code(5) == ErrorCode.REFUSED_STREAM
    wire.feed(frames.rst_stream(1, ErrorCode.CANCEL), request(stream_id=7))

    assert answers(wire) == {7: message(b"hello")}
