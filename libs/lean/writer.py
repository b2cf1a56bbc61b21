"""The sending half of a connection: frames collected into one write, windows, back-pressure."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from struct import Struct
from typing import Final, Generic, TypeVar, cast

from libs.eager import call_each, turns_of
from libs.lean import frames
from libs.lean.frames import ConnectionFailure, ErrorCode
from libs.lean.limits import KIB, Limits
from libs.lean.messages import PREFIX_BYTES
from libs.lean.streams import SendQueue, Stream

P = TypeVar("P")

HIGH_WATER: Final = 256 * KIB  # bytes in the transport from which it pauses us
ONE_WRITE: Final = 64 * KIB
LARGEST_SENT: Final = 64 * KIB  # frames, even if the peer takes larger ones: others wait for each
ONE_MESSAGE: Final = Struct(">IBIBI")  # the heads of a DATA frame, and of the message in it
log = logging.getLogger(__name__)


class Writer(asyncio.Protocol, Generic[P]):
    """Writes once per turn; data waits in its stream while it cannot go out."""

    def __init__(self, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.limits = limits
        self.streams: dict[int, Stream[P]] = {}
        self.is_over = False
        self.is_paused = False
        self.send_window = frames.DEFAULT_WINDOW
        self.initial_send_window = frames.DEFAULT_WINDOW
        self.max_frame = frames.SMALLEST_MAX_FRAME
        self.arrived: list[Stream[P]] = []  # that deliver when it is safe to call anybody
        self.ready: list[Callable[[], object]] = []  # what else is called then
        self.out: list[bytes | memoryview] = []
        self.awake = False  # a flush is sure to come
        self._unflushed = 0  # bytes of streams' data, roughly
        self._queued: OrderedDict[Stream[P], None] = OrderedDict()
        self._held: list[tuple[Stream[P], bytes]] = []
        self._transport: asyncio.Transport | None = None
        self._unsent_control = 0
        self.turns = turns_of(loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)

    def pause_writing(self) -> None:
        """Let data wait: the peer, or the way to it, is slow."""
        self.is_paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self.is_paused = False
        self._unsent_control = 0
        held, self._held = self._held, []
        for stream, data in held:
            if stream.id in self.streams:
                self.write_last(stream, data)
        self.pump()
        self.wake()

    def wake(self) -> None:
        """See to it that what is written is sent, and what is ready is called."""
        if not self.awake:
            self.awake = True
            self.turns.ask(self.turn)

    def turn(self) -> None:
        """Call all who are to be called, then send all that is written."""
        self.awake = True  # what is called need not wake us
        while self.arrived or self.ready:
            arrived, self.arrived = self.arrived, []
            for stream in arrived:
                try:
                    stream.deliver()
                except (Exception, asyncio.CancelledError):
                    # a mistake of one call's owner; the connection belongs to all
                    log.exception("%r could not deliver", stream)
            if self.ready:
                self._call_ready()
        self.awake = False
        if self.out:
            self.flush()

    def _call_ready(self) -> None:
        ready, self.ready = self.ready, []
        call_each(ready)

    def write(self, data: bytes) -> None:
        """Send a frame at this turn's end."""
        self.out.append(data)
        if not self.awake:
            self.wake()

    def write_control(self, data: bytes) -> None:
        """Send an answer that the peer has provoked; there is an end to it if it reads none."""
        if self.is_paused:
            self._unsent_control += 1
            if self._unsent_control > self.limits.max_unsent_control:
                raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, "answers are not read")
        self.write(data)

    def write_last(self, stream: Stream[P], data: bytes) -> None:
        """Send the frame that ends a stream, when the peer reads: till then it counts as open."""
        if self.is_paused:
            self._held.append((stream, data))
        else:
            self.write(data)
            stream.on_sent()

    def flush(self) -> None:
        """Send what is written, now."""
        out, self.out = self.out, []
        self._unflushed = 0
        if self._transport is None or self._transport.is_closing():
            return
        # Not writelines: that of Python 3.13.0 never pauses us. A copy of 64 KiB is cheap.
        self._transport.write(b"".join(out))

    def write_data(self, stream: Stream[P], chunks: Iterable[bytes], size: int) -> None:
        """Send a frame of data for which there is room."""
        self.send_window -= size
        stream.send_window -= size
        self.out.append(frames.HEAD.pack(size << 8, frames.DATA, stream.id))
        self.out += chunks
        self._written(size)

    def write_message(self, stream: Stream[P], message: bytes, size: int) -> None:
        """Send one whole message, `size` bytes with its prefix, for which there is room."""
        self.send_window -= size
        stream.send_window -= size
        length = size - PREFIX_BYTES
        self.out.append(ONE_MESSAGE.pack(size << 8, frames.DATA, stream.id, 0, length))
        self.out.append(message)
        self._written(size)

    def _written(self, size: int) -> None:
        if not self.awake:
            self.wake()
        self._unflushed += size
        if self._unflushed >= ONE_WRITE:
            self.flush()  # which may pause us, before who sends has had a turn of the loop

    def can_send(self, stream: Stream[P], size: int) -> bool:
        """Whether so much data may go out at once, in one frame, ahead of nothing."""
        return (
            size <= self.max_frame
            and size <= self.send_window
            and size <= stream.send_window
            and not self.is_paused
            and stream.queue is None
        )

    def enqueue(
        self,
        stream: Stream[P],
        chunks: Iterable[bytes],
        size: int,
        *,
        end_stream: bool = False,
        last: bytes = b"",
    ) -> None:
        """Send data when there is room: then END_STREAM on it, or a last frame after it."""
        queue = stream.queue
        if queue is None:
            queue = stream.queue = SendQueue()
        queue.add(chunks, size)
        queue.end_stream = end_stream
        queue.last = last
        if stream.send_window > 0:
            self._queued[stream] = None
            self.pump()
        if not self.awake:
            self.wake()

    def drop(self, stream: Stream[P]) -> None:
        """Forget what a stream has to send."""
        stream.queue = None
        self._queued.pop(stream, None)

    def pump(self) -> None:
        """Send what waits, a frame of each stream in turn, as long as there is room."""
        while self._queued and self.send_window > 0 and not self.is_paused:
            stream, _ = self._queued.popitem(last=False)
            self._send_some(stream)
            if self._unflushed >= ONE_WRITE:
                self.flush()  # which may pause us

    def _send_some(self, stream: Stream[P]) -> None:
        queue = stream.queue
        assert queue is not None, "only streams with something to send are queued"
        chunks = queue.take(min(self.send_window, stream.send_window, self.max_frame))
        size = sum(map(len, chunks))
        self.send_window -= size
        stream.send_window -= size
        ends = queue.end_stream and not queue.size
        head = frames.HEAD.pack(size << 8, frames.END_STREAM if ends else 0, stream.id)
        self.out.append(head)
        self.out += chunks
        self._unflushed += size
        if queue.size:
            if stream.send_window > 0:
                self._queued[stream] = None
        else:
            stream.queue = None
            if queue.last:
                self.out.append(queue.last)
            if ends or queue.last:
                stream.on_sent()
        stream.on_room()

    def grow(self, stream: Stream[P], size: int) -> None:
        """Move a stream's window; it may be negative before and after."""
        stream.send_window += size
        if stream.send_window <= 0:
            self._queued.pop(stream, None)  # only what has room may be there
        elif stream.queue is not None:
            self._queued[stream] = None
