"""Our client against frames that no real server can be made to send."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from libs.lean import Limits, Status, frames
from libs.lean.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PUSH_PROMISE,
    ErrorCode,
    frame,
)
from libs.lean.headers import encode
from libs.lean.messages import PREFIX
from tests.lean.support import ECHO, HANG
from tests.lean.wire import (
    ANSWER,
    OK,
    ClientWire,
    answer,
    call,
    data,
    error_of,
    headers,
    message,
    stream,
)


async def test_a_request_is_one_write() -> None:
    wire = ClientWire()
    call(wire)

    first, second = wire.sent()

    assert first[:3] == (HEADERS, END_HEADERS, 1)
    assert wire.fields(first[3]) == {
        ":method": "POST",
        ":scheme": "http",
        ":path": ECHO.path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "lean-grpc/1",
    }
    assert second == (DATA, END_STREAM, 1, message(b"hello"))


async def test_an_answer_may_be_cut_anywhere() -> None:
    whole = answer(b"one") + answer(b"two", 3)
    for cut in range(1, len(whole)):
        wire = ClientWire()
        calls = [call(wire), call(wire)]

        wire.feed(whole[:cut])
        wire.feed(whole[cut:])

        assert [each.result() for each in calls] == [b"one", b"two"]


async def test_an_answer_may_come_byte_by_byte() -> None:
    wire = ClientWire()
    promise = call(wire)

    for byte in answer():
        wire.feed(bytes((byte,)))

    assert promise.result() == b"hello"


async def test_an_answer_may_be_padded_and_spread() -> None:
    wire = ClientWire()
    promise = call(wire)
    body = message(b"hello")

    wire.feed(headers([(":status", "103")]), headers(ANSWER))
    wire.feed(*(frame(DATA, PADDED, 1, b"\x02" + body[i : i + 1] + bytes(2)) for i in range(10)))
    wire.feed(headers(OK, end=True))

    assert promise.result() == b"hello"


@pytest.mark.parametrize(
    ("code", "status", "sent"),
    [
        (ErrorCode.NO_ERROR, Status.INTERNAL, True),
        (ErrorCode.PROTOCOL_ERROR, Status.INTERNAL, True),
        (ErrorCode.INTERNAL_ERROR, Status.INTERNAL, True),
        (ErrorCode.REFUSED_STREAM, Status.UNAVAILABLE, False),
        (ErrorCode.CANCEL, Status.CANCELLED, True),
        (ErrorCode.ENHANCE_YOUR_CALM, Status.RESOURCE_EXHAUSTED, True),
        (ErrorCode.INADEQUATE_SECURITY, Status.PERMISSION_DENIED, True),
        (777, Status.INTERNAL, True),
    ],
)
async def test_resets_have_their_status(code: int, status: Status, sent: bool) -> None:
    wire = ClientWire()
    promise = call(wire)

    wire.feed(frames.rst_stream(1, code))

    error = error_of(promise)
    assert (error.status, error.sent) == (status, sent)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(":status", "400")], Status.INTERNAL),
        ([(":status", "401")], Status.UNAUTHENTICATED),
        ([(":status", "403")], Status.PERMISSION_DENIED),
        ([(":status", "404")], Status.UNIMPLEMENTED),
        ([(":status", "429")], Status.UNAVAILABLE),
        ([(":status", "503")], Status.UNAVAILABLE),
        ([(":status", "418")], Status.UNKNOWN),
        ([(":status", "200")], Status.UNKNOWN),
        ([(":status", "200"), ("content-type", "text/html")], Status.UNKNOWN),
        ([*ANSWER, ("grpc-status", "5")], Status.NOT_FOUND),
        ([*ANSWER, ("grpc-status", "99")], Status.UNKNOWN),
        ([*ANSWER, ("grpc-status", "five")], Status.UNKNOWN),
        ([(":status", "503"), ("grpc-status", "8")], Status.RESOURCE_EXHAUSTED),
        ([*ANSWER, ("grpc-status", "0")], Status.UNIMPLEMENTED),  # and no message
    ],
)
async def test_an_answer_of_headers_alone_has_its_status(
    fields: list[tuple[str, str]], status: Status
) -> None:
    wire = ClientWire()
    promise = call(wire)

    wire.feed(headers(fields, end=True))

    assert error_of(promise).status is status
    assert error_of(promise).sent


@pytest.mark.parametrize("end", [False, True])
async def test_a_page_of_a_proxy_is_no_answer(end: bool) -> None:
    wire = ClientWire()
    promise = call(wire)

    wire.feed(headers([(":status", "502"), ("content-type", "text/html")]))
    wire.feed(data(b"<html>", end=end))

    assert error_of(promise).status is Status.UNAVAILABLE


@pytest.mark.parametrize(
    "pieces",
    [
        (data(message(b"early")),),
        (headers(OK, end=True),),
        (headers([(":status", "1000")]),),
        (headers([(":status", "200"), (":path", "/")]),),
        (headers(ANSWER), headers(ANSWER)),
        (headers(ANSWER), headers(OK)),
        (headers(ANSWER), headers(ANSWER, end=True)),
        (headers([(":status", "100")], end=True),),
        (headers([*ANSWER, ("connection", "close")]),),
        (headers([*ANSWER, ("content-length", "3")]), data(message(b"hello"))),
    ],
)
async def test_a_malformed_answer_is_reset_and_fails(pieces: Sequence[bytes]) -> None:
    wire = ClientWire()
    promise, other = call(wire), call(wire)
    wire.sent()

    wire.feed(*pieces, answer(stream_id=3))

    assert error_of(promise).status is Status.INTERNAL
    assert wire.reset_code() == ErrorCode.PROTOCOL_ERROR
    assert other.result() == b"hello"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (message(b"a") * 2, Status.UNIMPLEMENTED),
        (message(b"a") + b"\0", Status.UNIMPLEMENTED),
        (message(b"ab")[:-1], Status.INTERNAL),
        (b"\0\0", Status.INTERNAL),
        (b"", Status.UNIMPLEMENTED),
        (b"\x01" + message(b"a")[1:], Status.INTERNAL),
        (PREFIX.pack(0, 1 << 31), Status.RESOURCE_EXHAUSTED),
    ],
)
async def test_anything_but_one_message_fails(body: bytes, status: Status) -> None:
    wire = ClientWire()
    promise = call(wire)

    wire.feed(headers(ANSWER), data(body), headers(OK, end=True))

    assert error_of(promise).status is status


async def test_an_answer_without_trailers_fails() -> None:
    wire = ClientWire()
    promise = call(wire)

    wire.feed(headers(ANSWER), data(message(b"hello"), end=True))

    assert error_of(promise).status is Status.INTERNAL


@pytest.mark.parametrize(
    "piece",
    [
        frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4) + encode(ANSWER)),
        headers(ANSWER, 2),
        headers(ANSWER, 5),
        data(b"", 7),
        frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        frame(DATA, 0, 1, bytes(20_000)),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
async def test_what_breaks_the_protocol_fails_all_calls(piece: bytes) -> None:
    wire = ClientWire()
    calls = [call(wire), call(wire)]

    wire.feed(piece)

    for each in calls:
        assert error_of(each).status is Status.UNAVAILABLE
    assert wire.goaway_code() is not None
    assert not wire.channel.is_connected


async def test_late_frames_of_a_cancelled_call_are_ignored() -> None:
    wire = ClientWire()
    first = stream(wire)
    first.cancel()
    assert wire.reset_code() == ErrorCode.CANCEL

    wire.feed(answer())
    second = call(wire)
    wire.feed(answer(stream_id=3))

    assert second.result() == b"hello"


async def test_frames_of_a_call_that_has_ended_break_the_protocol() -> None:
    wire = ClientWire()
    call(wire)
    wire.feed(answer())

    wire.feed(answer())

    assert wire.goaway_code() == ErrorCode.STREAM_CLOSED


async def test_a_server_going_away_takes_some_calls_and_not_others() -> None:
    wire = ClientWire()
    calls = [call(wire) for _ in range(3)]

    wire.feed(frames.goaway(3, ErrorCode.NO_ERROR, "bye"))

    assert [each.done for each in calls] == [False, False, True]
    assert error_of(calls[2]).status is Status.UNAVAILABLE
    assert not error_of(calls[2]).sent
    assert not wire.channel.is_connected
    wire.feed(answer(), answer(stream_id=3))
    assert [each.result() for each in calls[:2]] == [b"hello"] * 2
    assert wire.transport.closed


async def test_a_graceful_goaway_fails_nothing() -> None:
    wire = ClientWire()
    promise = call(wire)

    wire.feed(frames.goaway(frames.HIGHEST_ID, ErrorCode.NO_ERROR), answer())

    assert promise.result() == b"hello"
    assert wire.transport.closed


async def test_who_is_pinged_too_often_is_pinged_less() -> None:
    wire = ClientWire(Limits(keepalive_s=10))

    wire.feed(frames.goaway(0, ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings"))

    assert wire.channel.limits.keepalive_s == 20


async def test_too_many_headers_fail_the_call_alone() -> None:
    wire = ClientWire(Limits(max_header_bytes=1000))
    promise, other = call(wire), call(wire)

    wire.feed(headers([*ANSWER, ("x-large", "y" * 2000)]), answer(stream_id=3))

    assert error_of(promise).status is Status.RESOURCE_EXHAUSTED
    assert other.result() == b"hello"


async def test_broken_escapes_in_a_message_stay() -> None:
    wire = ClientWire()
    promise = call(wire)

    wire.feed(
        headers([*ANSWER, ("grpc-status", "2"), ("grpc-message", "50% %C3%A4 %ff%")], end=True)
    )

    assert error_of(promise).message == "50% ä \ufffd%"


async def test_a_goaway_and_a_loss_tell_why() -> None:
    wire = ClientWire()
    promise = wire.channel.unary(HANG, b"", timeout_s=5)

    wire.feed(frame(GOAWAY, 0, 0, frames.goaway(1, ErrorCode.INTERNAL_ERROR, "a bug")[9:]))
    wire.transport.lose()

    assert error_of(promise).status is Status.UNAVAILABLE
    assert error_of(promise).sent
    assert "a bug" in error_of(promise).message
