"""The core that clients and servers share: reading frames, and HTTP/2's rules for streams."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Final, NoReturn, TypeVar

from libs.lean import frames
from libs.lean.frames import ConnectionFailure, ErrorCode
from libs.lean.headers import GRACE, BlockReader
from libs.lean.limits import Limits, Rate
from libs.lean.streams import Stream
from libs.lean.writer import Writer

P = TypeVar("P")

MOST_REMEMBERED: Final = 1000  # streams that we reset, for which late frames are in order
log = logging.getLogger(__name__)


class Connection(Writer[P], ABC):
    """Reads frames; what the connection's own ones mean is for `Session` to say, below it."""

    def __init__(
        self, limits: Limits, loop: asyncio.AbstractEventLoop, blocks: BlockReader[P]
    ) -> None:
        super().__init__(limits, loop)
        self.blocks = blocks
        self.initial_window = max(limits.stream_window, frames.DEFAULT_WINDOW)
        self.heard = False
        self.streaming = 0  # calls of ours under way whose answers are streams
        self._window = limits.connection_window
        self._low_window = limits.connection_window // 2
        self._largest = limits.max_frame_bytes << 8 | 0xFF  # comparable with length << 8 | type
        self._partial: list[bytes] = []
        self._partial_size = 0
        self._wanted = 0
        self._is_ordered = True  # SETTINGS or a CONTINUATION has to come next
        self._is_begun = False  # the first frame has come
        self._block: list[bytes] = []
        self._block_of = (0, 0)  # stream and flags of a header block that goes on
        self._reset_ids: OrderedDict[int, None] = OrderedDict()
        self._resets = Rate(limits.max_resets_per_s)
        self._control = Rate(limits.max_control_per_s)
        self._on_kind = (
            self._read_data,
            self._read_headers,
            self._read_priority,
            self._read_reset,
            self.read_settings,
            self._read_push,
            self.read_ping,
            self.read_goaway,
            self._read_window_update,
            self._read_continuation,
        )

    # what subclasses add

    @abstractmethod
    def read_settings(self, stream_id: int, flags: int, payload: bytes) -> None:
        """Take a SETTINGS frame."""

    @abstractmethod
    def read_ping(self, stream_id: int, flags: int, payload: bytes) -> None:
        """Take a PING frame."""

    @abstractmethod
    def read_goaway(self, stream_id: int, flags: int, payload: bytes) -> None:
        """Take a GOAWAY frame."""

    @abstractmethod
    def break_off(self, failure: ConnectionFailure) -> None:
        """End the connection for what the peer did."""

    @abstractmethod
    def on_new_headers(self, stream_id: int, parsed: P, ended: bool) -> None:
        """Take a header block of a stream that is not there."""

    @abstractmethod
    def is_idle(self, stream_id: int) -> bool:
        """Whether a stream has never been."""

    def forget(self, stream: Stream[P]) -> None:
        """Let go of a stream that is over."""
        self.streams.pop(stream.id, None)
        if stream.queue is not None:
            self.drop(stream)

    # reading

    def data_received(self, data: bytes) -> None:
        """Read what has come, then call who waited for it, then send what that gave."""
        if self.is_over:
            return
        self.heard = self.awake = True
        turns = self.turns
        turns.begin()
        try:
            self.read(data)
        except ConnectionFailure as failure:
            self.break_off(failure)
        except Exception:
            log.exception("a bug in reading frames")
            self.break_off(ConnectionFailure(ErrorCode.INTERNAL_ERROR, "a bug"))
        try:
            self.turn()
        finally:
            turns.end()

    def read(self, data: bytes) -> None:  # noqa: C901 - a call per frame would cost more than it tells
        """Read all whole frames, and keep the rest."""
        if self._partial:
            data = self._completed(data)
        largest, on_kind = self._largest, self._on_kind
        start, end = 0, len(data)
        wanted = frames.HEAD_BYTES
        while end - start >= frames.HEAD_BYTES:
            length_kind, flags, stream_id = frames.head_at(data, start)
            if length_kind > largest:
                raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "a frame that is too large")
            wanted = frames.HEAD_BYTES + (length_kind >> 8)
            if wanted > end - start:
                break
            payload = data[start + frames.HEAD_BYTES : start + wanted]
            start += wanted
            wanted = frames.HEAD_BYTES
            kind = length_kind & 0xFF
            if self._is_ordered:
                self._check_order(kind, stream_id)
            if kind == frames.DATA:  # by name, for they are nearly all that comes
                self._read_data(stream_id & frames.HIGHEST_ID, flags, payload)
            elif kind == frames.HEADERS:
                self._read_headers(stream_id & frames.HIGHEST_ID, flags, payload)
            elif kind < 10:
                on_kind[kind](stream_id & frames.HIGHEST_ID, flags, payload)
            else:
                self.count_control()
            if self.is_over:
                return
        if start < end:
            self._partial.append(data[start:] if start else data)
            self._partial_size = end - start
            self._wanted = wanted

    def _completed(self, data: bytes) -> bytes:
        """Return what is there once a frame is whole, nothing before."""
        self._partial.append(data)
        self._partial_size += len(data)
        if self._partial_size < self._wanted:
            return b""
        data = b"".join(self._partial)
        self._partial.clear()
        return data

    def _check_order(self, kind: int, stream_id: int) -> None:
        if not self._is_begun:
            if kind != frames.SETTINGS:
                raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "SETTINGS have to come first")
            self._is_begun = True
            self._is_ordered = False
        elif kind != frames.CONTINUATION or stream_id & frames.HIGHEST_ID != self._block_of[0]:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")

    # streams

    def _read_data(self, stream_id: int, flags: int, payload: bytes) -> None:
        size = len(payload)
        self._window -= size
        if self._window < self._low_window:
            self._open_window()
        stream = self.streams.get(stream_id)
        if stream is None:
            self.late(stream_id)
            return
        stream.window -= size
        if stream.window < 0:
            stream.break_off("more data than allowed", ErrorCode.FLOW_CONTROL_ERROR)
            return
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
            stream.on_padding(size - len(payload))
        ended = flags & frames.END_STREAM
        if not payload and not ended:
            self.count_control()
        if stream.expected >= 0 and not stream.expect(payload, bool(ended)):
            stream.break_off("not as long as its content-length")
        else:
            stream.on_data(payload, bool(ended))

    def _open_window(self) -> None:
        size = self.limits.connection_window - self._window
        self._window += size
        self.write(frames.window_update(0, size))

    def late(self, stream_id: int) -> None:
        """Take a frame of a stream that is not there: in order only if we have reset it."""
        if self.is_idle(stream_id):
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "a frame of an idle stream")
        if stream_id not in self._reset_ids:
            raise ConnectionFailure(ErrorCode.STREAM_CLOSED, "a frame of a closed stream")

    def _read_headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if flags & (frames.PADDED | frames.WITH_PRIORITY):
            payload = self._bare_block(stream_id, flags, payload)
        if flags & frames.END_HEADERS:
            self._take_block(stream_id, flags, payload)
        else:
            self._block.append(payload)
            self._block_of = (stream_id, flags)
            self._is_ordered = True

    def _bare_block(self, stream_id: int, flags: int, payload: bytes) -> bytes:
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
        if flags & frames.WITH_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "HEADERS cut short")
            if frames.word(payload) & frames.HIGHEST_ID == stream_id:
                raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")
            payload = payload[5:]
        return payload

    def _read_continuation(self, stream_id: int, flags: int, payload: bytes) -> None:
        if not self._block:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "nothing to continue")
        self._block.append(payload)
        size = sum(map(len, self._block))
        limits = self.limits
        if len(self._block) > limits.max_continuations or size > limits.max_header_bytes * GRACE:
            raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end")
        if flags & frames.END_HEADERS:
            block = b"".join(self._block)
            self._block.clear()
            self._is_ordered = False
            self._take_block(*self._block_of, block)

    def _take_block(self, stream_id: int, flags: int, block: bytes) -> None:
        parsed = self.blocks.read(block)
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.on_headers(parsed, bool(flags & frames.END_STREAM))
        elif stream_id not in self._reset_ids:
            self.on_new_headers(stream_id, parsed, bool(flags & frames.END_STREAM))

    def _read_priority(self, stream_id: int, flags: int, payload: bytes) -> None:
        self.count_control()
        if not stream_id:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "PRIORITY of no stream")
        if len(payload) != 5:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong length")
        if frames.word(payload) & frames.HIGHEST_ID == stream_id:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")

    def _read_reset(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM of a wrong length")
        if self.is_idle(stream_id):
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "RST_STREAM of an idle stream")
        self._count_reset()
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.forget(stream)
            stream.on_reset(frames.word(payload))

    def _read_push(self, stream_id: int, flags: int, payload: bytes) -> NoReturn:
        raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE was not allowed")

    def _read_window_update(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFailure(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong length")
        size = frames.word(payload) & frames.HIGHEST_ID
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._grow_stream(stream, size)
        elif not stream_id:
            self._grow_connection(size)
        elif self.is_idle(stream_id):
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of an idle stream")
        self.pump()

    def _grow_stream(self, stream: Stream[P], size: int) -> None:
        if not size:
            stream.break_off("a window update of nothing")
        elif stream.send_window + size > frames.LARGEST_WINDOW:
            stream.break_off("a window over 2^31-1", ErrorCode.FLOW_CONTROL_ERROR)
        else:
            self.grow(stream, size)

    def _grow_connection(self, size: int) -> None:
        if not size:
            raise ConnectionFailure(ErrorCode.PROTOCOL_ERROR, "a window update of nothing")
        self.send_window += size
        if self.send_window > frames.LARGEST_WINDOW:
            raise ConnectionFailure(ErrorCode.FLOW_CONTROL_ERROR, "a window over 2^31-1")

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream, and take no more of it."""
        self._reset_ids[stream_id] = None
        if len(self._reset_ids) > MOST_REMEMBERED:
            self._reset_ids.popitem(last=False)
        self.write(frames.rst_stream(stream_id, code))
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.forget(stream)  # last: another may take its place

    def refuse(self, stream_id: int, code: ErrorCode) -> None:
        """Reset a stream for what the peer did; not too often."""
        self._count_reset()
        self.write_control(b"")  # which counts what is not read
        self.reset(stream_id, code)

    def _count_reset(self) -> None:
        if self._resets.exceeded():
            raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, "too many resets")

    def count_control(self) -> None:
        """Count a frame that brings nothing; there may not be too many."""
        if self._control.exceeded():
            raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, "too many control frames")
