"""A peer made by hand: our protocols on a transport that is none, fed with raw frames."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hpack import Decoder

from libs.eager import Promise, Timers
from libs.lean import Channel, ClientStream, Limits, RpcError, frames
from libs.lean.client import ClientConnection
from libs.lean.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    frame,
)
from libs.lean.headers import encode
from libs.lean.messages import PREFIX
from libs.lean.server_connection import ServerConnection
from libs.lean.session import Session
from libs.lean.writer import HIGH_WATER
from tests.lean.support import COUNT, ECHO, Handlers

Frame = tuple[int, int, int, bytes]
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", ECHO.path),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
ANSWER = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]
LARGE_BLOCK = encode([*REQUEST, ("x-filler", "y" * 5000)])


class FakeTransport(asyncio.Transport):
    """Keeps what is written; pauses who writes too much; ends when told."""

    def __init__(self, protocol: Session[Any]) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False
        self._protocol = protocol

    def write(self, data: Any) -> None:
        self.written += data
        if len(self.written) > HIGH_WATER and not self._protocol.is_paused:
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        for each in list_of_data:
            self.write(each)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def lose(self) -> None:
        self.closed = True
        self._protocol.connection_lost(None)


class Wire:
    """One of our connections, and what the peer by hand does and sees."""

    def __init__(self, protocol: Session[Any], beginning: bytes = b"") -> None:
        self.protocol = protocol
        self.transport = FakeTransport(protocol)
        protocol.connection_made(self.transport)
        protocol.turn()
        self._begun = beginning == b""
        self._decoder = Decoder()
        self.beginning = beginning

    def feed(self, *pieces: bytes) -> None:
        self.protocol.data_received(b"".join(pieces))

    def begin(self, settings: Sequence[tuple[int, int]] = ()) -> None:
        self.feed(self.beginning, frames.settings(settings), frame(SETTINGS, ACK, 0))
        self.sent()

    def sent(self) -> list[Frame]:
        """Return the frames since the last time."""
        self.protocol.turn()
        data = bytes(self.transport.written)
        self.transport.written.clear()
        if data.startswith(frames.PREFACE):
            data = data[len(frames.PREFACE) :]
        found: list[Frame] = []
        while data:
            length_kind, flags, stream_id = frames.HEAD.unpack_from(data)
            end = 9 + (length_kind >> 8)
            assert len(data) >= end, "a frame is cut short"
            found.append((length_kind & 0xFF, flags, stream_id, data[9:end]))
            data = data[end:]
        return found

    def kinds(self) -> list[int]:
        return [kind for kind, *_ in self.sent()]

    def fields(self, block: bytes) -> dict[str, str]:
        return {str(n): str(v) for n, v, *_ in self._decoder.decode(block)}

    def reset_code(self, stream_id: int = 1) -> int | None:
        """Return what the stream was reset with, or the connection ended with."""
        for kind, _, of, payload in self.sent():
            if kind == RST_STREAM and of == stream_id:
                return frames.word(payload)
        return None

    def goaway_code(self) -> int | None:
        codes = [frames.word(payload, 4) for kind, *_, payload in self.sent() if kind == GOAWAY]
        return codes[-1] if codes else None


class ServerWire(Wire):
    def __init__(self, limits: Limits | None = None, *, begun: bool = True) -> None:
        self.handlers = Handlers()
        connection = ServerConnection(
            self.handlers.by_path(),
            limits or Limits(),
            asyncio.get_running_loop(),
            Timers(),
            lambda _: None,
            lambda _: None,
        )
        super().__init__(connection, frames.PREFACE)
        if begun:
            self.begin()


class ClientWire(Wire):
    """With a channel, whose only connection this is."""

    def __init__(self, limits: Limits | None = None, *, begun: bool = True) -> None:
        self.channel = Channel("localhost:1", limits=limits)
        self.connection = ClientConnection(
            "http localhost",
            limits or Limits(),
            asyncio.get_running_loop(),
            self.channel._changed,
        )
        super().__init__(self.connection)
        if begun:
            self.begin()
            self.channel._use(self.connection)


def headers(fields: Sequence[tuple[str, str]], stream_id: int = 1, *, end: bool = False) -> bytes:
    flags = END_HEADERS | (END_STREAM if end else 0)
    return frame(HEADERS, flags, stream_id, encode(fields))


def message(content: bytes) -> bytes:
    return PREFIX.pack(0, len(content)) + content


def data(payload: bytes, stream_id: int = 1, *, end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream_id, payload)


def request(content: bytes = b"hello", stream_id: int = 1, path: str = ECHO.path) -> bytes:
    fields = [(n, path if n == ":path" else v) for n, v in REQUEST]
    return headers(fields, stream_id) + data(message(content), stream_id, end=True)


def answer(content: bytes = b"hello", stream_id: int = 1) -> bytes:
    return (
        headers(ANSWER, stream_id)
        + data(message(content), stream_id)
        + headers(OK, stream_id, end=True)
    )


def answers(wire: ServerWire) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for kind, _, stream_id, payload in wire.sent():
        if kind == DATA:
            found[stream_id] = found.get(stream_id, b"") + payload
    return found


def call(wire: ClientWire, content: bytes = b"hello") -> Promise[bytes]:
    return wire.channel.unary(ECHO, content, timeout_s=5)


def stream(wire: ClientWire) -> ClientStream:
    return wire.channel.stream(COUNT, b"1", timeout_s=5)


def error_of(promise: Promise[bytes]) -> RpcError:
    assert promise.done
    with pytest.raises(RpcError) as caught:
        promise.result()
    return caught.value
