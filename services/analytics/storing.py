"""Brings what was received into a store: in order, and until it is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from libs.common.backoff import Backoff
from libs.common.clock import Clock
from libs.common.events.values import Batch
from libs.common.process import StoreStatus
from services.analytics.batcher import Batcher, BatchPolicy
from services.analytics.ports import EventStore, StoreError

log = logging.getLogger(__name__)


@dataclass(slots=True)
class StoringCounts:
    """What has happened since boot; plain integers, read by the metrics."""

    events: int = 0
    writes: int = 0
    write_seconds: float = 0.0
    write_errors: int = 0


@dataclass(frozen=True, slots=True)
class _Submitted:
    batch: Batch
    stored: Callable[[Batch], None]


class Storing:
    """A bounded line of batches, and the one task that writes them."""

    def __init__(
        self,
        *,
        store: EventStore,
        name: str,
        clock: Clock,
        policy: BatchPolicy | None = None,
        retry: Backoff | None = None,
    ) -> None:
        self._store = store
        self._name = name
        self._clock = clock
        self._retry = retry or Backoff(first_s=0.1, most_s=5.0)
        self._batcher: Batcher[_Submitted] = Batcher(policy or BatchPolicy())
        self._submitted = 0  # batches, ever
        self._finished = 0  # of those, stored
        self._urgent = 0  # up to this one, writes wait for nobody
        self._arrival = asyncio.Event()
        self._progress = asyncio.Event()
        self.counts = StoringCounts()
        self.trouble = ""  # why the last write failed

    def __repr__(self) -> str:
        done = f"{self._finished}/{self._submitted}"
        return f"<Storing {self._name} finished={done} {self._batcher!r}>"

    def status(self) -> StoreStatus:
        """Return how it is."""
        return StoreStatus(
            name=self._name,
            waiting=self.waiting_events,
            most_waiting=self._batcher.most_events,
            stored=self.counts.events,
            trouble=self.trouble,
        )

    @property
    def waiting_events(self) -> int:
        """Return how many events are in the line."""
        return self._batcher.events

    async def submit(self, batch: Batch, stored: Callable[[Batch], None]) -> None:
        """Put a batch in line, when there is room; `stored` is called once it is in the store."""
        while self._batcher.is_full:
            await self._progressed()
        self._batcher.add(
            _Submitted(batch, stored), events=len(batch.events), now=self._clock.now()
        )
        self._submitted += 1
        self._arrival.set()

    async def flush(self, seconds: float) -> None:
        """Wait until all that was submitted is stored; TimeoutError when that takes longer."""
        target = self._urgent = self._submitted
        self._arrival.set()
        async with asyncio.timeout(seconds):
            while self._finished < target:
                await self._progressed()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write while inside; on leaving, what is not stored stays with its sink."""
        task = asyncio.create_task(self._run(), name=f"events to {self._name}")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            await self._until_due()
            write = self._batcher.take()
            await self._write([submitted.batch for submitted in write])
            self._finished += len(write)
            self._progress.set()
            for submitted in write:
                submitted.stored(submitted.batch)

    async def _until_due(self) -> None:
        while True:
            wait = self._batcher.wait_seconds(self._clock.now())
            if wait == 0 or (wait is not None and self._urgent > self._finished):
                return
            self._arrival.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._arrival.wait()

    async def _write(self, batches: list[Batch]) -> None:
        """Write until it has worked."""
        for wait in self._retry:
            started = self._clock.now()
            try:
                await self._store.write(batches)
            except StoreError as error:
                log.warning("events are not stored in %s, trying again: %s", self._name, error)
                self.trouble = str(error)
            except Exception as error:
                self.trouble = repr(error)
                # A bug. The events wait for its end, as for that of any other failure.
                log.exception("events are not stored in %s, trying again", self._name)
            else:
                self.trouble = ""
                self.counts.writes += 1
                self.counts.write_seconds += self._clock.now() - started
                self.counts.events += sum(len(batch.events) for batch in batches)
                return
            self.counts.write_errors += 1
            await asyncio.sleep(wait)

    async def _progressed(self) -> None:
        self._progress.clear()
        await self._progress.wait()
