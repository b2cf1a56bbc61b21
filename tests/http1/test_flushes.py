"""Streams of many connections are written in one turn of the loop, each whatever the others do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from libs.http1 import HttpServer, Request, Responder

REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


class Kept(asyncio.Transport):
    """Keeps what is written, or breaks."""

    def __init__(self, *, breaks: bool) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.breaks = breaks

    def write(self, data: Any) -> None:
        if self.breaks:
            raise OSError("broken")
        self.written.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is room for all."""

    def abort(self) -> None:
        """It is not open."""


async def test_one_connection_that_breaks_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    responders: list[Responder] = []

    def handle(_: Request, responder: Responder) -> None:
        responders.append(responder)

    server = HttpServer(
        route=lambda *_: handle,
        other=asyncio.Protocol,
        refuse=lambda refusal: (refusal.status, (), b""),
    )
    transports = [Kept(breaks=False), Kept(breaks=True), Kept(breaks=False)]
    connections = [server.connection() for _ in transports]
    for connection, transport in zip(connections, transports, strict=True):
        connection.connection_made(transport)
        connection.data_received(REQUEST)

    for responder in responders:
        responder.begin(200, ())
        responder.write(b"a")
        responder.write(b"b")
    await asyncio.sleep(0)

    assert [len(each.written) for each in transports] == [1, 0, 1]
    assert transports[2].written[0].endswith(b"1\r\na\r\n1\r\nb\r\n")
    assert "cannot be written to" in caplog.text
    for connection in connections:
        connection.connection_lost(None)
