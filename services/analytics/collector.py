"""The collector: reads batches from sinks, has them stored, then acknowledges them.

Nothing is acknowledged before it is stored, so a sink sends again whatever
either side loses, and the store makes that harmless. Broken input ends the
connection that it came by, and no other.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial

from libs.common.events.framing import BrokenFrame, encode_ack, read_frame
from libs.common.events.values import Ack, Batch
from services.analytics.ports import Line
from services.analytics.received import read_batch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorLimits:
    """Bounds of what sinks may ask for."""

    connections: int = 256
    batch_bytes: int = 4 << 20
    batch_events: int = 4096
    # For the rest of a batch, once its length has come.
    read_seconds: float = 10.0
    # Acknowledgements that a sink leaves unread.
    unread_ack_bytes: int = 64 << 10


@dataclass(slots=True)
class CollectorCounts:
    """What has happened since boot; plain integers, read by the metrics."""

    connections: int = 0
    connections_refused: int = 0
    connections_broken: int = 0
    batches: int = 0
    events: int = 0
    # Of those, of a kind that this version does not know; acknowledged, not stored.
    events_unknown: int = 0


class Collector:
    """Answers connections from sinks."""

    def __init__(self, *, line: Line, limits: CollectorLimits | None = None) -> None:
        self._line = line
        self._limits = limits or CollectorLimits()
        self._tasks: set[asyncio.Task[None]] = set()
        self.counts = CollectorCounts()

    def __repr__(self) -> str:
        return f"<Collector connections={self.connections}/{self._limits.connections}>"

    @property
    def connections(self) -> int:
        """Return how many sinks are connected."""
        return len(self._tasks)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        if len(self._tasks) >= self._limits.connections:
            self.counts.connections_refused += 1
            writer.close()
            return
        self.counts.connections += 1
        task = asyncio.ensure_future(self._receive(reader, writer))
        self._tasks.add(task)
        try:
            await task
        except asyncio.CancelledError:
            pass  # only `close` cancels, and the connection ends here anyway
        except (BrokenFrame, TimeoutError) as error:
            self.counts.connections_broken += 1
            log.warning("closed a connection to the collector: %s", error or "a batch stalled")
        except (OSError, asyncio.IncompleteReadError):
            pass  # the sink left
        finally:
            self._tasks.discard(task)
            writer.close()

    async def close(self) -> None:
        """End all connections. What they were not told is stored, their sinks send again."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        limits = self._limits
        while True:
            frame = await read_frame(
                reader, max_bytes=limits.batch_bytes, body_seconds=limits.read_seconds
            )
            # In a thread: events are read one by one, and others' work waits for the loop.
            batch = await asyncio.to_thread(read_batch, frame, max_events=limits.batch_events)
            self.counts.batches += 1
            self.counts.events += len(batch.events)
            self.counts.events_unknown += batch.events.count(None)
            await self._line.submit(batch, partial(self._acknowledge, writer))

    def _acknowledge(self, writer: asyncio.StreamWriter, batch: Batch) -> None:
        if writer.is_closing():
            return  # the sink sends again, and learns it then
        if writer.transport.get_write_buffer_size() > self._limits.unread_ack_bytes:
            self.counts.connections_broken += 1
            writer.transport.abort()
            return
        ack = Ack(
            server=batch.server, boot_epoch=batch.boot_epoch, last_sequence=batch.last_sequence
        )
        writer.write(encode_ack(ack))
