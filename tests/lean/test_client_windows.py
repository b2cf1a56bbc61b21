"""Our client's windows, both ways, and its limits, to the byte."""

from __future__ import annotations

from libs.lean import Limits, frames
from libs.lean.frames import (
    DATA,
    END_STREAM,
    HEADERS,
    PADDED,
    RST_STREAM,
    WINDOW_UPDATE,
    ErrorCode,
    frame,
)
from tests.lean.wire import (
    ANSWER,
    OK,
    ClientWire,
    answer,
    call,
    data,
    headers,
    message,
    stream,
)


async def test_calls_above_the_servers_limit_wait_for_their_turn() -> None:
    wire = ClientWire(begun=False)
    wire.begin([(frames.MAX_CONCURRENT_STREAMS, 2)])
    wire.channel._use(wire.connection)
    calls = [call(wire, b"%d" % i) for i in range(4)]
    assert wire.kinds().count(HEADERS) == 2

    wire.feed(answer())
    assert wire.kinds().count(HEADERS) == 1
    calls[2].cancel()
    assert wire.kinds() == [RST_STREAM, HEADERS, DATA]
    wire.feed(answer(stream_id=3), answer(stream_id=7))

    assert calls[3].result() == b"hello"


async def test_a_server_may_take_more_calls_later() -> None:
    wire = ClientWire(begun=False)
    wire.begin([(frames.MAX_CONCURRENT_STREAMS, 0)])
    wire.channel._use(wire.connection)
    promise = call(wire)
    assert wire.sent() == []

    wire.feed(frames.settings([(frames.MAX_CONCURRENT_STREAMS, 1)]))
    wire.feed(answer())

    assert promise.result() == b"hello"


async def test_padding_alone_does_not_use_up_the_window() -> None:
    wire = ClientWire(Limits(stream_window=1000))
    promise = call(wire)
    wire.feed(headers(ANSWER))
    window = 1000
    for byte in message(bytes(100)):
        window -= 102
        wire.feed(frame(DATA, PADDED, 1, bytes((100, byte)) + bytes(100)))
        window += sum(frames.word(p) for kind, _, of, p in wire.sent() if kind == 8 and of)
        assert window >= 102
    wire.feed(headers(OK, end=True))

    assert promise.result() == bytes(100)


async def test_the_servers_windows_are_kept_to() -> None:
    wire = ClientWire(begun=False)
    wire.begin([(frames.INITIAL_WINDOW_SIZE, 10)])
    wire.channel._use(wire.connection)
    call(wire, bytes(20))
    (_, (kind, flags, _, payload)) = wire.sent()
    assert (kind, flags, len(payload)) == (DATA, 0, 10)

    wire.feed(frames.window_update(1, 100))

    ((kind, flags, _, payload),) = wire.sent()
    assert (kind, flags, len(payload)) == (DATA, END_STREAM, 15)


async def test_an_answer_before_all_is_sent_stops_the_sending() -> None:
    wire = ClientWire()
    promise = call(wire, bytes(100_000))
    wire.sent()

    wire.feed(answer())
    assert wire.reset_code() == ErrorCode.CANCEL
    wire.feed(frames.window_update(0, 100_000))

    assert promise.result() == b"hello"
    assert wire.sent() == []


async def test_a_slow_reader_stops_the_server_and_reading_lets_it_go_on() -> None:
    wire = ClientWire(Limits(stream_window=1000))
    reading = stream(wire)
    wire.feed(headers(ANSWER), data(message(bytes(95)) * 10))
    assert WINDOW_UPDATE not in wire.kinds()

    assert len(await reading.read()) == 10

    assert (WINDOW_UPDATE, 0, 1, (1000).to_bytes(4, "big")) in wire.sent()


async def test_a_message_larger_than_the_window_passes() -> None:
    wire = ClientWire(Limits(stream_window=1000))
    reading = stream(wire)
    whole = message(bytes(5000)) + message(b"next")
    wire.feed(headers(ANSWER), data(whole[:1000]))
    assert (WINDOW_UPDATE, 0, 1, (4005).to_bytes(4, "big")) in wire.sent()

    wire.feed(data(whole[1000:5005]))

    assert await reading.read() == [bytes(5000)]
    assert (WINDOW_UPDATE, 0, 1, (1000).to_bytes(4, "big")) in wire.sent()
    wire.feed(data(whole[5005:]), headers(OK, end=True))
    assert await reading.read() == [b"next"]
    assert await reading.read() == []


async def test_an_unread_message_keeps_the_next_large_one_out() -> None:
    wire = ClientWire(Limits(stream_window=1000))
    reading = stream(wire)

    wire.feed(headers(ANSWER), data(message(b"small") + message(bytes(5000))[:990]))
    assert WINDOW_UPDATE not in wire.kinds()
    await reading.read()

    assert WINDOW_UPDATE in wire.kinds()
