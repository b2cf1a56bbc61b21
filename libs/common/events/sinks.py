"""Where a service puts its events: over a Unix socket to the collector, or in memory for tests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from libs.common.backoff import Backoff
from libs.common.events.framing import MAX_ACK_BYTES, decode_ack, read_frame
from libs.common.events.occurrences import Occurrence
from libs.common.events.outbox import Outbox
from libs.common.events.sealing import Sealing
from libs.common.events.spool import Spool
from libs.common.events.spooling import Spooling, SpoolingConfig
from libs.common.events.values import Event
from libs.common.process import EventsWaiting

log = logging.getLogger(__name__)
AFTER_BUG_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkConfig:
    """Bounds of a sink."""

    # Events of this long go into one batch, and are what a kill -9 of the server loses at most.
    # Where they come half of it apart, or more, each is a batch of its own.
    flush_seconds: float = 0.010
    # Batches that are sent and wait for their acknowledgement.
    slots: int = 64
    # Also what is encoded in one go: 512 events are some 5 ms.
    batch_events: int = 512
    batch_bytes: int = 1 << 20
    # Events that are in no batch yet, while there is room for none.
    pending_events: int = 4096
    # A connection whose acknowledgements stay away for so long is opened anew.
    watchdog_seconds: float = 10.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.05, most_s=2.0))
    # For the last batches to be acknowledged, on leaving.
    close_seconds: float = 5.0
    # None: what is not acknowledged is in memory alone.
    spooling: SpoolingConfig | None = None


@dataclass(slots=True)
class SinkCounts:
    """What has happened since boot; plain integers, for speed."""

    connect_err: int = 0
    # Connections that broke, or that the watchdog closed.
    write_err: int = 0
    # Events that the collector has.
    ok: int = 0
    # Events given up: everything was full, or the sink was left and no disk has them.
    dropped: int = 0


class MemorySink:
    """Keeps the events, for tests."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event | Occurrence) -> None:
        """Keep the event."""
        self.events.append(event.event() if isinstance(event, Occurrence) else event)


class UnixSocketSink:
    """Sends events to the collector, numbered and in order, until it has them all.

    An async context manager. `emit` belongs to the thread of its loop; what is
    emitted before the sink is entered waits, what comes after it was left is dropped.
    """

    def __init__(
        self, path: Path, *, server: str, boot_epoch: int, config: SinkConfig | None = None
    ) -> None:
        self._path = path
        self._config = config = config or SinkConfig()
        self._spooling: Spooling | None = None
        if config.spooling is not None:
            self._spooling = Spooling(config.spooling, server=server)
        self._outbox = Outbox(
            server=server,
            boot_epoch=boot_epoch,
            slots=config.slots,
            batch_events=config.batch_events,
            batch_bytes=config.batch_bytes,
            pending_events=config.pending_events,
            shelf=self._spooling.spool if self._spooling else None,
        )
        self.counts = SinkCounts()
        self._left = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sealing = Sealing(config.flush_seconds)
        self._writer: asyncio.StreamWriter | None = None
        self._is_away = False  # the last try to connect failed
        self._watchdog = asyncio.timeout(None)
        self._progress = asyncio.Event()
        self._to_replay = asyncio.Event()

    def __repr__(self) -> str:
        way = "connected" if self._writer else "away"
        return f"<UnixSocketSink {self.server} {way} {self._outbox!r}>"

    @property
    def server(self) -> str:
        """Return whose events these are."""
        return self._outbox.boot[0]

    @property
    def waiting(self) -> int:
        """Return how many events the collector has not acknowledged."""
        unread = self.spool.unread_events if self.spool else 0
        return self._outbox.pending + self._outbox.sent + unread

    @property
    def spool(self) -> Spool | None:
        """Return what is on disk, if there is a spool."""
        return self._spooling.spool if self._spooling else None

    def events_waiting(self) -> EventsWaiting:
        """Return what is on its way, for people."""
        spool, spooling = self.spool, self._config.spooling
        return EventsWaiting(
            waiting=self.waiting,
            spooled=spool.unread_events if spool else 0,
            spool_bytes=spool.bytes if spool else 0,
            spool_most_bytes=spooling.bounds.most_bytes if spooling else 0,
            dropped=self.counts.dropped,
            is_away=self._is_away,
        )

    def emit(self, event: Event | Occurrence) -> None:
        """Take the event: it is on its way within `flush_seconds`, or counted as dropped."""
        if self._left or not self._outbox.add(event):
            self._add_to_full(event)
        elif self._timer is None and self._loop is not None:
            self._timer = self._loop.call_at(self._sealing.due(self._loop.time()), self._tick)

    @property
    def is_connected(self) -> bool:
        """Whether there is a collector."""
        return self._writer is not None

    def look_again(self) -> None:
        """Seal what a disk has refused, where nothing else comes back to it."""
        if self._outbox.pending and self._timer is None:
            self._tick()

    def adopted(self) -> None:
        """Have what was found in the spool sent."""
        self._to_replay.set()

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
        spooling = self._spooling
        if spooling is not None:
            server, epoch = self._outbox.boot
            self._outbox.boot = (server, await spooling.open(epoch))
        self._loop = asyncio.get_running_loop()
        self._begin(self._run(), "event sink")
        if spooling is not None:
            self._begin(self._replay(spooling), "events from the spool")
            self._begin(spooling.keep(self), "spool of events")
        self._tick()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._left = True
        box = self._outbox
        before = -1
        while box.sealed > before:
            before = box.sealed
            slot = box.seal_now()
            if slot is not None:
                self._write(slot.frame)
        try:
            async with asyncio.timeout(self._config.close_seconds):
                while box.acknowledged < box.sealed and (box.unkept or not self._is_away):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            pass
        finally:
            self._stop()
        self.counts.dropped += box.unkept
        if box.unkept:
            log.warning("left with %d events that nobody has", box.unkept)
        elif self.waiting:
            log.info("left with %d events that wait in the spool", self.waiting)
        await asyncio.wait(self._tasks)
        if self._spooling is not None:
            await self._spooling.close()

    def _begin(self, work: Coroutine[None, None, None], what: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=f"{what} of {self.server}"))

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()

    def _add_to_full(self, event: Event | Occurrence) -> None:
        """Take an event more than may be pending, of a burst that the timer has not seen yet."""
        if not self._left and self._loop is not None:
            try:
                self._seal()
            except Exception:  # the caller is a request
                log.exception("events of %s could not be sealed", self.server)
            if self._outbox.add(event):
                return
        self.counts.dropped += 1

    def _seal(self) -> int:
        """Seal a batch, have it sent, and return its events; 0 without room for it, or events."""
        box = self._outbox
        before = box.sealed
        slot = box.seal()
        if box.sealed == before:
            return 0
        if slot is None:
            self._to_replay.set()
        else:
            self._write(slot.frame)
        return box.sealed - before

    def _tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        box, config = self._outbox, self._config
        events = self._seal()
        if not events:
            return  # the next event, acknowledgement or look at the spool comes back here
        if self._loop is not None:
            self._sealing.sealed(self._loop.time(), events)
        if box.pending and self._loop is not None:
            seconds = 0.0 if box.pending >= config.batch_events else config.flush_seconds
            self._timer = self._loop.call_later(seconds, self._tick)

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
        when = loop.time() + self._config.watchdog_seconds if self._outbox.slots else None
        self._watchdog.reschedule(when)

    async def _replay(self, spooling: Spooling) -> None:
        """Send what only the spool has, as slots are free for it."""
        while True:
            self._to_replay.clear()
            is_broken = False
            try:
                if not await self._replay_next(spooling):
                    await self._to_replay.wait()
            except Exception:
                log.exception("the spool of %s could not be read", self.server)
                is_broken = True
            if is_broken:  # a bug; yet the events wait
                await asyncio.sleep(AFTER_BUG_S)

    async def _replay_next(self, spooling: Spooling) -> bool:
        config, box = self._config, self._outbox
        if self._writer is None or not box.has_free_slot:
            return False
        found = await spooling.read(most_events=config.batch_events, most_bytes=config.batch_bytes)
        if found is None:
            return False
        slot = box.replay(*found)
        if slot is not None:
            self._write(slot.frame)
        return True

    async def _run(self) -> None:
        waits = iter(self._config.backoff)
        while True:
            before = self.counts.ok
            try:
                await self._connect_and_send()
            except Exception:
                # A bug; yet the events wait, and another connection may fare better.
                log.exception("the event sink of %s failed", self.server)
            if self.counts.ok > before:
                waits = iter(self._config.backoff)
            await asyncio.sleep(next(waits))

    async def _connect_and_send(self) -> None:
        """Return when the connection cannot be made, or has ended."""
        try:
            async with asyncio.timeout(self._config.watchdog_seconds):
                reader, writer = await asyncio.open_unix_connection(self._path)
        except (OSError, TimeoutError) as error:
            self._is_away = True
            self._progress.set()
            self.counts.connect_err += 1
            log.debug("no connection to the collector: %s", error)
            return
        self._is_away = False
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
            self._to_replay.set()
            while True:
                self._expect_acknowledgement()
                frame = await read_frame(reader, max_bytes=MAX_ACK_BYTES)
                self._acknowledge(frame)

    def _acknowledge(self, frame: bytes) -> None:
        self.counts.ok += self._outbox.acknowledge(decode_ack(frame))
        self._progress.set()
        self._to_replay.set()
        if self._outbox.pending and self._timer is None:
            self._tick()
