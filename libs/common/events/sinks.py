"""Where a service puts its events: over a Unix socket to the collector, or in memory for tests."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from libs.common.backoff import Backoff
from libs.common.events.framing import MAX_ACK_BYTES, decode_ack, read_frame
from libs.common.events.outbox import Outbox
from libs.common.events.values import Event

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkConfig:
    """Bounds of a sink."""

    # Events of this long go into one batch, and are what a kill -9 of the server loses.
    flush_seconds: float = 0.010
    # Batches that wait for their acknowledgement.
    slots: int = 64
    # Also what is encoded in one go: 512 events are some 5 ms.
    batch_events: int = 512
    batch_bytes: int = 1 << 20
    # Events that are in no batch yet, while all slots are taken.
    pending_events: int = 4096
    # A connection whose acknowledgements stay away for so long is opened anew.
    watchdog_seconds: float = 10.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.05, most_s=2.0))
    # For the last batches to be acknowledged, on leaving.
    close_seconds: float = 5.0


@dataclass(slots=True)
class SinkCounts:
    """What has happened since boot; plain integers, for speed."""

    connect_err: int = 0
    # Connections that broke, or that the watchdog closed.
    write_err: int = 0
    # Events that the collector has.
    ok: int = 0
    # Events given up: everything was full, or the sink was left before they were acknowledged.
    dropped: int = 0


class MemorySink:
    """Keeps the events, for tests."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)


class UnixSocketSink:
    """Sends events to the collector, numbered and in order, until it has them all.

    An async context manager. `emit` belongs to the thread of its loop; what is
    emitted before the sink is entered waits, what comes after it was left is dropped.
    """

    def __init__(
        self, path: Path, *, server: str, boot_epoch: int, config: SinkConfig | None = None
    ) -> None:
        self._path = path
        self._server = server
        self._boot_epoch = boot_epoch
        self._config = config = config or SinkConfig()
        self._outbox = Outbox(
            server=server,
            boot_epoch=boot_epoch,
            slots=config.slots,
            batch_events=config.batch_events,
            batch_bytes=config.batch_bytes,
            pending_events=config.pending_events,
        )
        self.counts = SinkCounts()
        self._left = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._watchdog = asyncio.timeout(None)
        self._progress = asyncio.Event()

    def __repr__(self) -> str:
        way = "connected" if self._writer else "away"
        return f"<UnixSocketSink {self._server} {way} {self._outbox!r}>"

    def emit(self, event: Event) -> None:
        """Take the event: it is on its way within `flush_seconds`, or counted as dropped."""
        if self._left or not self._outbox.add(event):
            self.counts.dropped += 1
        elif self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(self._config.flush_seconds, self._tick)

    async def flush(self, seconds: float) -> None:
        """Wait until what has been emitted is stored; TimeoutError when it takes longer."""
        box = self._outbox
        target = box.sealed + box.pending
        async with asyncio.timeout(seconds):
            while box.acknowledged < target:
                self._progress.clear()
                self._tick()
                await self._progress.wait()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name=f"event sink of {self._server}")
        self._tick()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._left = True
        while (slot := self._outbox.seal_now()) is not None:
            self._write(slot.frame)
        try:
            await self.flush(self._config.close_seconds)
        except TimeoutError:
            self.counts.dropped += self._outbox.unacknowledged
            log.warning(
                "left with %d events that are not acknowledged", self._outbox.unacknowledged
            )
        finally:
            self._stop()
        if self._task is not None:
            await asyncio.wait([self._task])

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        slot = self._outbox.seal()
        if slot is None:
            return  # the next event or acknowledgement comes back here
        self._write(slot.frame)
        if self._outbox.pending and self._loop is not None:
            self._timer = self._loop.call_later(self._config.flush_seconds, self._tick)

    def _write(self, frame: bytes) -> None:
        """Send a batch; without a connection it waits in its slot for the next one."""
        if self._writer is None:
            return
        # Never drained: the transport holds at most what the slots hold.
        self._writer.write(frame)
        if self._watchdog.when() is None:
            self._expect_acknowledgement()

    def _expect_acknowledgement(self) -> None:
        loop = asyncio.get_running_loop()
        outstanding = self._outbox.unacknowledged > 0
        when = loop.time() + self._config.watchdog_seconds if outstanding else None
        self._watchdog.reschedule(when)

    async def _run(self) -> None:
        waits = iter(self._config.backoff)
        while True:
            before = self._outbox.acknowledged
            try:
                await self._connect_and_send()
            except Exception:
                # A bug; yet the events wait, and another connection may fare better.
                log.exception("the event sink of %s failed", self._server)
            if self._outbox.acknowledged > before:
                waits = iter(self._config.backoff)
            await asyncio.sleep(next(waits))

    async def _connect_and_send(self) -> None:
        """Return when the connection cannot be made, or has ended."""
        try:
            async with asyncio.timeout(self._config.watchdog_seconds):
                reader, writer = await asyncio.open_unix_connection(self._path)
        except (OSError, TimeoutError) as error:
            self.counts.connect_err += 1
            log.debug("no connection to the collector: %s", error)
            return
        try:
            await self._send(reader, writer)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self.counts.write_err += 1
            log.info("lost the connection to the collector: %r", error)
        finally:
            self._writer = None
            writer.transport.abort()

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send what is not acknowledged, and read acknowledgements until an exception ends it."""
        async with asyncio.timeout(None) as self._watchdog:
            self._writer = writer
            writer.writelines([slot.frame for slot in self._outbox.slots])
            while True:
                self._expect_acknowledgement()
                frame = await read_frame(reader, max_bytes=MAX_ACK_BYTES)
                self._acknowledge(frame)

    def _acknowledge(self, frame: bytes) -> None:
        ack = decode_ack(frame)
        if (ack.server, ack.boot_epoch) != (self._server, self._boot_epoch):
            raise ValueError(f"an acknowledgement for {ack.server!r}")
        self.counts.ok += self._outbox.acknowledge(ack.last_sequence)
        self._progress.set()
        if self._outbox.pending and self._timer is None:
            self._tick()
