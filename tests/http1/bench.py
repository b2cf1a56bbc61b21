"""A connection on a bench: its transport, its loop and its timers are the test's own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from libs.http1 import Handler, HttpServer, Limits, Request, Responder
from libs.http1.answers import MOST_NAMES, MOST_VALUES
from libs.http1.connection import MOST_WAITING, Connection
from libs.http1.core import Core
from libs.http1.heads import MOST_KEPT
from libs.http1.lifetime import CLOSING, GONE, LINGER
from tests.http1.support import refused

LIMITS = Limits(max_header_bytes=600, max_body_bytes=300, max_headers=12, max_requests=6)


class Loop:
    """Calls soon what it is told to."""

    def __init__(self) -> None:
        self.soon: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def call_soon(self, callback: Callable[..., object], *args: Any, **_: Any) -> None:
        self.soon.append((callback, args))

    def get_debug(self) -> bool:
        return False

    def run(self) -> None:
        for _ in range(1000):
            if not self.soon:
                return
            callback, args = self.soon.popleft()
            callback(*args)
        raise AssertionError("the loop never rests")


class Transport:
    """Keeps what is written; has room, or not, as it is told."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.protocol: Any = None
        self.reading = True
        self.closing = False
        self.ended = False
        self.unsent = 0

    def get_extra_info(self, name: str) -> None:
        """There is nobody at the other end."""

    def write(self, data: bytes) -> None:
        assert not self.closing
        assert not self.ended
        self.written += data

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


class Others(asyncio.Protocol):
    """Takes what is handed over."""

    def __init__(self) -> None:
        self.came = b""

    def connection_made(self, transport: object) -> None:
        self.came += b""

    def data_received(self, data: bytes) -> None:
        self.came += data


class Bench:
    """A connection, and all that is around it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.waiting: list[Responder] = []
        self.gone = 0
        self.other: Others | None = None
        self.loop = Loop()
        server = HttpServer(route=self.route, other=self.others, refuse=refused, limits=LIMITS)
        self.core: Core = server._core
        self.core.loop = cast(asyncio.AbstractEventLoop, self.loop)
        timers: Any = self.core.timers
        loop: Any = self.loop
        timers._ticking = asyncio.TimerHandle(0.0, print, (), loop)  # which never comes
        self.watched: dict[Any, None] = timers._bounded
        self.begin()

    def begin(self) -> None:
        """Begin a connection; what is remembered of others' lines stays."""
        self.requests.clear()
        self.waiting.clear()
        self.loop.soon.clear()
        self.watched.clear()
        self.core.connections.clear()
        self.core.counters.connections = 0
        self.gone = 0
        self.other = None
        self.sent = b""
        self.lost = False
        self.paused = False
        self.transport = Transport()
        self.connection = self.transport.protocol = Connection(self.core)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def others(self) -> asyncio.Protocol:
        self.other = Others()
        return self.other

    def route(self, method: str, path: str) -> Handler | None:
        return self.handle if method in ("POST", "GET") and not path.startswith("/c") else None

    def handle(self, request: Request, responder: Responder) -> None:
        self.requests.append(request)
        if request.path.startswith("/w"):
            responder.on_gone = self.on_gone
            self.waiting.append(responder)
        elif request.path.startswith("/s"):
            responder.begin(200, [])
            responder.write(b"part")
            responder.end()
        elif request.path.startswith("/r"):
            responder.answer(200, [("bad\n", "header")], b"")
        else:
            responder.answer(200, [("X", "y")], b"whole")

    def on_gone(self) -> None:
        self.gone += 1

    def feed(self, data: bytes) -> None:
        if data and self.transport.reading and not self.transport.closing and not self.lost:
            self.sent += data
            self.transport.protocol.data_received(data)

    def act(self, what: str) -> None:
        connection = self.connection
        alive = not self.lost and self.other is None
        if what == "run":
            self.loop.run()
        elif what == "answer" and self.waiting:
            self.waiting.pop().answer(200, [], b"late")
        elif what == "pause" and alive and not self.paused and not self.transport.closing:
            self.paused, self.transport.unsent = True, 1000
            connection.pause_writing()
        elif what == "resume" and alive and self.paused:
            self.paused, self.transport.unsent = False, 0
            connection.resume_writing()
        elif what == "expire" and connection in self.watched:
            del self.watched[connection]
            connection.expire()
        elif what == "eof" and alive and not self.transport.closing:
            connection.eof_received()
            self.transport.close()

    def end(self) -> None:
        self.loop.run()
        self.check()
        open_still = [each for each in self.waiting if each._connection is not None]
        told = self.gone
        if self.other is None and not self.lost:
            self.lost = True
            self.connection.connection_lost(None)
        self.loop.run()
        assert self.gone - told == len(open_still) <= 1
        assert not self.core.connections
        assert self.core.counters.connections == 0
        assert self.connection not in self.watched
        for name in ("_rest", "_incoming", "_responder", "_out", "_room", "_transport"):
            assert getattr(self.connection, name) is None, name

    def check(self) -> None:
        connection = self.connection
        assert len(connection._rest or b"") <= MOST_WAITING + 4096
        assert len(self.core.reader._lines) <= MOST_KEPT
        assert len(self.core.reader._first_lines) <= MOST_KEPT
        assert len(self.core.heads._lines) <= MOST_NAMES * MOST_VALUES
        assert self.transport.written.count(b"HTTP/1.1 ") >= len(self.requests) - 1 or self.lost
        if connection._phase not in (LINGER, CLOSING, GONE):
            assert not self.transport.closing
            assert connection in self.watched
        if self.other:
            assert self.sent.endswith(self.other.came)
            assert self.other.came
