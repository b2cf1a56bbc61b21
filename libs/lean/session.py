"""A connection's own frames: SETTINGS, PING, GOAWAY; and its beginning, its pulse, its end."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import Final, TypeVar

from libs.lean import frames
from libs.lean.connection import Connection
from libs.lean.frames import ConnectionFailure, ErrorCode
from libs.lean.headers import BlockReader
from libs.lean.limits import Limits
from libs.lean.tls import speaks_http2
from libs.lean.writer import LARGEST_SENT

P = TypeVar("P")

LINGER_S: Final = 1.0  # for a peer to read why the connection ends
PULSE: Final = b"a pulse?"


class Session(Connection[P]):
    """A whole connection but for the streams: those of clients and servers differ."""

    def __init__(
        self, limits: Limits, loop: asyncio.AbstractEventLoop, blocks: BlockReader[P]
    ) -> None:
        super().__init__(limits, loop, blocks)
        self.last_peer_id = 0  # the highest that the peer has opened
        self.peer_max_streams = frames.HIGHEST_ID
        self.is_settled = False  # the peer has said what it takes
        self._is_accepted = False  # our settings, by the peer
        self._keepalive_s = limits.keepalive_s
        self._timer: asyncio.TimerHandle | None = None

    # what subclasses add

    @abstractmethod
    def opening(self) -> tuple[bytes, tuple[tuple[int, int], ...]]:
        """Return what comes before our SETTINGS, and what belongs into them."""

    def on_settings(self) -> None:
        """Hear that SETTINGS have come from the peer, its first or others."""

    def on_goaway(self, last_id: int, code: int, text: str) -> None:
        """Hear that the peer takes no more streams, and none above that one."""

    def on_pong(self, payload: bytes) -> None:
        """Hear that the peer has read a PING."""

    def on_over(self, text: str) -> None:
        """Hear that the connection is at its end; all streams have heard of it."""

    # the beginning

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we take; nothing may come before that."""
        super().connection_made(transport)
        limits = self.limits
        preface, more = self.opening()
        settings = (
            (frames.HEADER_TABLE_SIZE, limits.header_table_bytes),
            (frames.INITIAL_WINDOW_SIZE, limits.stream_window),
            (frames.MAX_FRAME_SIZE, limits.max_frame_bytes),
            (frames.MAX_HEADER_LIST_SIZE, limits.max_header_bytes),
        )
        self.write(preface + frames.settings(settings + more))
        extra = limits.connection_window - frames.DEFAULT_WINDOW
        if extra:
            self.write(frames.window_update(0, extra))
        self._timer = self.loop.call_later(limits.connect_s, self._too_late)
        if not speaks_http2(transport):
            self.close("the peer does not speak HTTP/2 over TLS")

    def _too_late(self) -> None:
        self.break_off(ConnectionFailure(ErrorCode.SETTINGS_TIMEOUT, "no SETTINGS in time"))
        self.turn()

    def read_settings(self, stream_id: int, flags: int, payload: bytes) -> None:
        """Take the peer's settings, or its consent to ours."""
        if stream_id:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream")
        self.count_control()
        if flags & frames.ACK:
            self._take_consent(payload)
            return
        for name, value in frames.read_settings(payload):
            if name == frames.INITIAL_WINDOW_SIZE:
                self._move_windows(value)
            elif name == frames.MAX_FRAME_SIZE:
                self.max_frame = min(value, LARGEST_SENT)
            elif name == frames.MAX_CONCURRENT_STREAMS:
                self.peer_max_streams = value
        self.write_control(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self.pump()
        if not self.is_settled:
            self.is_settled = True
            self._time(self._beat, self._keepalive_s)
        self.on_settings()

    def _take_consent(self, payload: bytes) -> None:
        if payload:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "a SETTINGS ACK with a payload")
        if not self._is_accepted:
            self._is_accepted = True
            self.blocks.limit_state(self.limits.header_table_bytes)
            surplus = self.initial_window - self.limits.stream_window
            self.initial_window -= surplus
            for stream in self.streams.values():
                stream.window -= surplus

    def _move_windows(self, size: int) -> None:
        change = size - self.initial_send_window
        self.initial_send_window = size
        for stream in self.streams.values():
            self.grow(stream, change)
            if stream.send_window > frames.LARGEST_WINDOW:
                raise ConnectionFailure(ErrorCode.FLOW_CONTROL_ERROR, "a window over 2^31-1")

    # the pulse

    def _time(self, call: Callable[[], None], seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, call)

    def _beat(self) -> None:
        """Ask whether the peer is alive, if it is silent while calls are in flight."""
        if self.heard or not self.streams:
            self.heard = False
            self._time(self._beat, self._keepalive_s)
        else:
            self.write(frames.frame(frames.PING, 0, 0, PULSE))
            self._time(self._listen, self.limits.keepalive_timeout_s)

    def _listen(self) -> None:
        if self.heard:
            self._beat()
        else:
            self.close("the peer does not answer any more")
            self.turn()
            self.abort()

    def read_ping(self, stream_id: int, flags: int, payload: bytes) -> None:
        """Answer a PING."""
        if stream_id:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "PING of a wrong length")
        self.count_control()
        if flags & frames.ACK:
            self.on_pong(payload)
        else:
            self.write_control(frames.frame(frames.PING, frames.ACK, 0, payload))

    # the end

    def read_goaway(self, stream_id: int, flags: int, payload: bytes) -> None:
        """Hear that the peer goes away."""
        if stream_id:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "GOAWAY of a stream")
        if len(payload) < 8:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of a wrong length")
        self.count_control()
        last_id = frames.word(payload) & frames.HIGHEST_ID
        self.on_goaway(last_id, frames.word(payload, 4), payload[8:].decode("ascii", "replace"))

    def break_off(self, failure: ConnectionFailure) -> None:
        """End the connection for what the peer did, telling it."""
        if not self.is_over:
            self.write(frames.goaway(self.last_peer_id, failure.code, failure.text))
            self.close(f"the peer broke a rule: {failure.text}")

    def close(self, text: str) -> None:
        """End the connection once all that is written is sent."""
        if self.is_over:
            return
        self.is_over = True
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            self.drop(stream)
            stream.on_lost(text)
        self.on_over(text)
        if self._transport is not None and not self._transport.is_closing():
            self.flush()
            self._transport.close()
            self._time(self.abort, LINGER_S)
        if not self.awake:
            self.wake()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell all whose calls are lost."""
        self.close(f"the connection is lost: {error or 'closed by the peer'}")
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        self.turn()
