"""A server's connection: takes streams that clients open, and ends without losing any."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from libs.eager import Timers
from libs.lean import frames
from libs.lean.frames import ConnectionFailure, ErrorCode
from libs.lean.headers import BlockReader
from libs.lean.heads import Request, read_request
from libs.lean.limits import Limits
from libs.lean.server_call import Handler, ServerCall
from libs.lean.session import Session
from libs.lean.streams import Stream
from libs.lean.tls import peer_uris

GOING: Final = b"going..."  # the PING whose answer tells that a client knows
MOST_SKIPPED: Final = 100


class ServerConnection(Session[Request]):
    """`on_made` and `on_gone` are called with its transport's beginning and end."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
        on_made: Callable[[ServerConnection], None],
        on_gone: Callable[[ServerConnection], None],
    ) -> None:
        blocks = BlockReader(partial(read_request, handlers), limits.max_header_bytes)
        super().__init__(limits, loop, blocks)
        self.handlers = handlers
        self.timers = timers
        self.peer_uris: tuple[str, ...] = ()  # of the client's certificate
        self._on_made = on_made
        self._on_gone = on_gone
        self._preface = frames.PREFACE  # what is still to come of it
        self._skipped: list[range] = []  # numbers that the client has left out
        self._last_id: int | None = None  # what a last GOAWAY said

    def __repr__(self) -> str:
        state = "over" if self.is_over else "open" if self._last_id is None else "draining"
        return f"<ServerConnection {state} calls={len(self.streams)}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.peer_uris = peer_uris(transport)
        self._on_made(self)
        super().connection_made(transport)

    def opening(self) -> tuple[bytes, tuple[tuple[int, int], ...]]:
        """Begin as servers do."""
        return b"", ((frames.MAX_CONCURRENT_STREAMS, self.limits.max_streams),)

    def read(self, data: bytes) -> None:
        """Read the preface, then frames."""
        if self._preface:
            size = min(len(self._preface), len(data))
            if data[:size] != self._preface[:size]:
                raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "not a preface of HTTP/2")
            self._preface = self._preface[size:]
            data = data[size:]
        if data:
            super().read(data)

    def is_idle(self, stream_id: int) -> bool:
        """Whether the client has not opened it; we open none."""
        if self._is_unwanted(stream_id):
            return False
        return stream_id > self.last_peer_id or not stream_id & 1

    def on_new_headers(self, stream_id: int, parsed: Request, ended: bool) -> None:
        """Take a call."""
        last = self.last_peer_id
        if self._is_unwanted(stream_id):
            return
        if stream_id <= last or not stream_id & 1:
            raise self._unexpected(stream_id)
        following = last + 1 | 1
        if stream_id != following:
            self._skipped = [*self._skipped[-MOST_SKIPPED:], range(following, stream_id, 2)]
        self.last_peer_id = stream_id
        if parsed.malformed or parsed.is_trailers:
            self.refuse(stream_id, ErrorCode.PROTOCOL_ERROR)
        elif len(self.streams) >= self.limits.max_streams:
            self.refuse(stream_id, ErrorCode.REFUSED_STREAM)
        else:
            call = self.streams[stream_id] = ServerCall(self, stream_id, parsed)
            call.begin(ended)

    def _unexpected(self, stream_id: int) -> ConnectionFailure:
        if not stream_id & 1 or any(stream_id in each for each in self._skipped):
            return ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "a stream number out of order")
        return ConnectionFailure(ErrorCode.STREAM_CLOSED, "headers of a closed stream")

    # the end

    def _is_unwanted(self, stream_id: int) -> bool:
        """Whether the client knows, or will soon, by our GOAWAY that we do not take it."""
        return self._last_id is not None and stream_id > self._last_id

    def late(self, stream_id: int) -> None:
        """Take a frame of a stream that is not there."""
        if not self._is_unwanted(stream_id):
            super().late(stream_id)

    def drain(self) -> None:
        """Take no more calls, in two steps: first the client has to hear of it."""
        if not self.is_settled:
            self.close("the server is shutting down")
        else:
            self.write(frames.goaway(frames.HIGHEST_ID, ErrorCode.NO_ERROR))
            self.write(frames.frame(frames.PING, 0, 0, GOING))

    def on_pong(self, payload: bytes) -> None:
        """Take the last step: what the client has sent before it knew is there by now."""
        if payload == GOING and self._last_id is None:
            self._last_id = self.last_peer_id
            self.write(frames.goaway(self._last_id, ErrorCode.NO_ERROR))
            self._close_if_idle()

    def forget(self, stream: Stream[Request]) -> None:
        """Let go of a call."""
        super().forget(stream)
        if self._last_id is not None:
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if not self.streams:
            self.ready.append(lambda: self.close("the server is shutting down"))
            self.wake()

    def shut_down(self) -> None:
        """End all calls, and the connection."""
        for stream in list(self.streams.values()):
            assert isinstance(stream, ServerCall)
            stream.shut_down()
        self.write(frames.goaway(self.last_peer_id, ErrorCode.NO_ERROR))
        self.close("the server is shutting down")
        self.turn()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell all whose calls are lost, and the server."""
        super().connection_lost(error)
        self._on_gone(self)
