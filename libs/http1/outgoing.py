"""The writing half of a connection: one write per turn, and patience with readers."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, cast

from libs.eager import Promise, turns_of

SLICE: Final = 64 * 1024
log = logging.getLogger("libs.http1")


class Outgoing(asyncio.Protocol):
    """Collects what is to be written; knows whether the client reads."""

    __slots__ = (
        "_acknowledged",
        "_loop",
        "_out",
        "_queued",
        "_room",
        "_serving",
        "_transport",
        "_turns",
        "_write_buffer",
        "_write_paused",
        "_written",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, write_buffer: int) -> None:
        self._loop = loop
        self._turns = turns_of(loop)
        self._write_buffer = write_buffer
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # None again at the end
        self._out: list[bytes] | None = None  # to be written in one go
        self._queued = 0  # bytes in there
        self._room: Promise[None] | None = None  # for who waits until the client has read
        self._written = 0  # given to the transport
        self._acknowledged = 0  # of these, what the kernel had taken when we looked last
        self._serving = False  # inside of data_received, which flushes at its end
        self._write_paused = False

    def send(self, data: bytes) -> Promise[None] | None:
        """Write soon; a promise of room if there is none."""
        if self._out is None:
            self._out = [data]
            if not self._serving:
                self._turns.ask(self._turn)
        else:
            self._out.append(data)
        self._queued += len(data)
        if self._queued > self._write_buffer:
            self.flush()
        if not self._write_paused:
            return None
        if self._room is None or self._room.done:
            self._room = Promise(self._loop)
        return self._room

    def send_last(self, data: bytes) -> None:
        """Write the end of an answer: nothing more is to come, so at once."""
        if self._out is not None:
            self._out.append(data)
            self._queued += len(data)
            if not self._serving or self._queued > self._write_buffer:
                self.flush()
        elif self._transport is not None:
            self._write(data)

    def _turn(self) -> None:
        try:
            self.flush()
        except Exception:
            log.exception("%r cannot be written to", self)

    def flush(self) -> None:
        """Write what is collected."""
        out, self._out = self._out, None
        self._queued = 0
        if out and self._transport is not None:
            self._write(out[0] if len(out) == 1 else b"".join(out))

    def _write(self, data: bytes) -> None:
        self._written += len(data)
        write = self._transport.write
        if len(data) <= SLICE or not self._transport.get_extra_info("sslcontext"):
            write(data)
        else:  # in one piece, TLS would pass all of it on, and say that nothing is unsent
            view = memoryview(data)
            for at in range(0, len(data), SLICE):
                write(view[at : at + SLICE])

    def pause_writing(self) -> None:
        """Hear that the client reads slower than we write."""
        self._write_paused = True
        self._acknowledged = self._written - self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """Hear that it has read."""
        self._write_paused = False
        self._make_room()

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.resolve(None)

    def _has_unsent(self) -> bool:
        return self._transport.get_write_buffer_size() > 0

    def _is_stuck(self) -> bool:
        """Whether something is unsent, and nothing was sent since we looked last."""
        unsent = self._transport.get_write_buffer_size()
        sent, before = self._written - unsent, self._acknowledged
        self._acknowledged = sent
        return unsent > 0 and sent == before
