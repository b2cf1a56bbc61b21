"""What our server makes of requests that no real client can be made to send."""

from __future__ import annotations

import pytest

from libs.lean import Limits, frames
from libs.lean.frames import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    ErrorCode,
    frame,
)
from libs.lean.headers import encode
from tests.lean.support import ECHO
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


async def test_too_many_headers_fail_the_call_alone() -> None:
    wire = ServerWire(Limits(max_header_bytes=4096))

    wire.feed(frame(HEADERS, END_HEADERS, 1, LARGE_BLOCK), data(message(b"a"), end=True))
    ((*_, block),) = wire.sent()
    wire.feed(request(stream_id=3))

    assert wire.fields(block)["grpc-status"] == "8"
    assert answers(wire) == {3: message(b"hello")}


@pytest.mark.parametrize("block", [b"\xff\xff\xff\xff\xff\xff", b"\xbe", b"\x00", b"\x00\x85abc"])
async def test_a_broken_block_ends_the_connection(block: bytes) -> None:
    wire = ServerWire()

    wire.feed(frame(HEADERS, END_HEADERS, 1, block))

    assert wire.goaway_code() == ErrorCode.COMPRESSION_ERROR


async def test_a_header_bomb_ends_the_connection() -> None:
    wire = ServerWire(begun=False)
    entry = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000  # one field of 4 KB, kept
    wire.feed(frames.PREFACE, frames.settings([]))

    wire.feed(frame(HEADERS, END_HEADERS, 1, entry + b"\xbe" * 4000))  # and repeated

    assert wire.goaway_code() == ErrorCode.ENHANCE_YOUR_CALM


async def test_dynamic_tables_are_understood_before_the_settings_are_acknowledged() -> None:
    from hpack import Encoder

    wire = ServerWire(begun=False)
    wire.feed(frames.PREFACE, frames.settings([]))
    encoder = Encoder()
    for stream_id in (1, 3, 5):
        block = encoder.encode(REQUEST)
        wire.feed(frame(HEADERS, END_HEADERS, stream_id, block))
        wire.feed(data(message(b"hello"), stream_id, end=True))
    encoder.header_table_size = 0
    wire.feed(frame(SETTINGS, 1, 0))
    for stream_id in (7, 9, 11):
        block = encoder.encode(REQUEST)
        wire.feed(frame(HEADERS, END_HEADERS, stream_id, block))
        wire.feed(data(message(b"hello"), stream_id, end=True))

    assert set(answers(wire)) == {1, 3, 5, 7, 9, 11}


async def test_a_client_that_keeps_its_table_is_borne_with() -> None:
    from hpack import Encoder

    wire = ServerWire()
    encoder = Encoder()
    for stream_id in (1, 3, 5):
        block = encoder.encode([*REQUEST, ("x-id", str(stream_id))])
        wire.feed(frame(HEADERS, END_HEADERS, stream_id, block))
        wire.feed(data(message(b"hello"), stream_id, end=True))

    assert set(answers(wire)) == {1, 3, 5}


def changed(name: str, value: str | None) -> list[tuple[str, str]]:
    fields = [each for each in REQUEST if each[0] != name]
    if value is None:
        return fields
    return [(name, value), *fields] if name.startswith(":") else [*fields, (name, value)]


@pytest.mark.parametrize(
    "fields",
    [
        changed(":method", None),
        changed(":scheme", None),
        changed(":path", None),
        changed(":path", ""),
        changed(":status", "200"),
        [*REQUEST, (":path", "/late")],
        [(":path", "/twice"), *REQUEST],
        [*REQUEST, ("connection", "close")],
        [*REQUEST, ("transfer-encoding", "chunked")],
        changed("te", "gzip"),
        [*REQUEST, ("content-length", "one")],
        changed(":method", "CONNECT"),
    ],
)
async def test_a_malformed_request_is_reset(fields: list[tuple[str, str]]) -> None:
    wire = ServerWire()

    wire.feed(headers(fields))

    assert wire.reset_code() == ErrorCode.PROTOCOL_ERROR
    wire.feed(request(stream_id=3))
    assert answers(wire) == {3: message(b"hello")}


@pytest.mark.parametrize("name", [b"X-Upper", b"a b", b"a:b", b"", b"k\xe4se"])
async def test_a_malformed_header_name_is_reset(name: bytes) -> None:
    wire = ServerWire()
    block = encode(REQUEST) + b"\x00" + bytes((len(name),)) + name + b"\x01v"

    wire.feed(frame(HEADERS, END_HEADERS, 1, block))

    assert wire.reset_code() == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize(("length", "body"), [("9", b"hello"), ("11", b"hello"), ("0", b"hello")])
async def test_a_wrong_content_length_is_reset(length: str, body: bytes) -> None:
    wire = ServerWire()

    wire.feed(headers([*REQUEST, ("content-length", length)]), data(message(body), end=True))

    assert wire.reset_code() == ErrorCode.PROTOCOL_ERROR


async def test_a_right_content_length_is_right() -> None:
    wire = ServerWire()

    wire.feed(headers([*REQUEST, ("content-length", "10")]), data(message(b"hello"), end=True))

    assert answers(wire) == {1: message(b"hello")}


async def test_trailers_of_a_request_are_ignored() -> None:
    wire = ServerWire()

    wire.feed(headers(REQUEST), data(message(b"hello")), headers([("x-a", "b")], end=True))

    assert answers(wire) == {1: message(b"hello")}


async def test_plain_http_is_told_what_this_is() -> None:
    wire = ServerWire()

    wire.feed(headers([(":method", "GET"), (":scheme", "http"), (":path", "/")], end=True))

    (*_, block), (_, flags, _, body) = wire.sent()
    assert wire.fields(block)[":status"] == "415"
    assert (flags, body) == (END_STREAM, b"This is a gRPC server.\n")


@pytest.mark.parametrize(
    ("timeout", "is_fine"), [("1S", 1), ("99999999H", 1), ("", 0), ("1", 0), ("-1S", 0), ("1s", 0)]
)
async def test_a_malformed_timeout_fails_the_call(timeout: str, is_fine: bool) -> None:
    wire = ServerWire()

    wire.feed(headers([*REQUEST, ("grpc-timeout", timeout)]), data(message(b""), end=True))

    statuses = [wire.fields(p).get("grpc-status") for k, *_, p in wire.sent() if k == HEADERS]
    assert statuses[-1] == ("0" if is_fine else "13")


@pytest.mark.parametrize("body", [b"", message(b"ab")[:-1], message(b"")[:-1], message(b"a") * 2])
async def test_anything_but_one_message_fails_the_call(body: bytes) -> None:
    wire = ServerWire()

    wire.feed(headers(REQUEST), data(body, end=True), request(stream_id=3))

    (_, _, stream_id, block), *_ = wire.sent()
    assert stream_id == 1
    assert wire.fields(block)["grpc-status"] in ("12", "13")


async def test_a_second_message_fails_the_call_though_more_is_to_come() -> None:
    wire = ServerWire()

    wire.feed(headers(REQUEST), data(message(b"a")), data(message(b"b")))

    assert wire.kinds() == [HEADERS, RST_STREAM]
    wire.feed(data(message(b"late")), data(b"", end=True), request(stream_id=3))
    assert answers(wire) == {3: message(b"hello")}


async def test_paths_are_what_counts() -> None:
    wire = ServerWire()

    wire.feed(request(path=ECHO.path + "?"))

    ((*_, block),) = wire.sent()
    assert wire.fields(block)["grpc-status"] == "12"
