"""Out of Kafka's topics into the line of a store; an offset is committed once the store has it.

Consumers of one group share the partitions. What one of them had stored and
not committed when it died is read again by another, and the store makes that
harmless. So a group needs one store: its members write to the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from libs.common.backoff import Backoff
from libs.common.events.codec import BrokenEvent, decode
from libs.common.events.values import Batch, Recorded
from services.analytics.kafka.cluster import KafkaCluster
from services.analytics.kafka.records import batches_of
from services.analytics.ports import Line, ReadingCounts, StoreError

log = logging.getLogger(__name__)
POLL_S = 0.2  # at least so often it is looked whether something is to be committed
POLL_RECORDS = 5_000


@dataclass(slots=True)
class _Progress:
    """How far one partition has come."""

    read: int | None  # the next offset to come; None: unknown
    stored: int  # everything before it is in the store
    committed: int
    end: int | None = None  # what Kafka has, as far as it has said


class Consumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Reads both topics for one store, as a member of a group."""

    def __init__(
        self,
        cluster: KafkaCluster,
        *,
        line: Line,
        group: Callable[[], str],
        drain_seconds: float,
        retry: Backoff | None = None,
    ) -> None:
        """`group` is asked once the store is open, as it may be named after it."""
        self._cluster = cluster
        self._config = cluster.config
        self._line = line
        self._group = group
        self._drain_seconds = drain_seconds
        self._retry = retry or Backoff(first_s=0.2, most_s=5.0)
        self._client: Any = None
        self._progress: dict[TopicPartition, _Progress] = {}
        self.counts = ReadingCounts()

    def __repr__(self) -> str:
        return f"<Consumer partitions={len(self._progress)} read={self.counts.records}>"

    def lag(self) -> dict[tuple[str, int], int]:
        """Return how many records of each partition that is ours are not stored yet."""
        return {
            (partition.topic, partition.partition): max(0, progress.end - progress.stored)
            for partition, progress in tuple(self._progress.items())  # scrapes come by a thread
            if progress.end is not None
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read while inside; on leaving, what is stored is committed."""
        self._cluster.check()
        task = asyncio.create_task(self._run(), name="events from Kafka")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Have stored and committed what was read, so that others need not read it again."""
        with suppress(TimeoutError):
            await self._line.flush(self._config.session_seconds)
        await self._commit()
        self._progress = {}

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begin where the group has come to."""
        for partition in assigned:
            committed = await self._client.committed(partition)
            begin = committed or 0
            self._progress[partition] = _Progress(committed, stored=begin, committed=begin)

    async def _run(self) -> None:
        waits = iter(self._retry)
        while True:
            before = self.counts.records
            try:
                await self._read()
            except (KafkaError, StoreError, OSError, TimeoutError) as error:
                log.warning("events are not read from Kafka, trying again: %r", error)
            except Exception:
                # A bug; yet the events wait in Kafka, and another connection may fare better.
                log.exception("events are not read from Kafka, trying again")
            self.counts.errors += 1
            if self.counts.records > before:
                waits = iter(self._retry)
            await asyncio.sleep(next(waits))

    async def _read(self) -> None:
        """Read until an exception ends it."""
        async with asyncio.timeout(self._config.write_seconds):
            await self._cluster.partitions()
        self._client = client = self._cluster.consumer(self._group())
        try:
            await client.start()
            client.subscribe(self._config.topics, listener=self)
            loop, last = asyncio.get_running_loop(), 0.0
            while True:
                found = await client.getmany(
                    timeout_ms=round(POLL_S * 1000), max_records=POLL_RECORDS
                )
                for partition, records in found.items():
                    await self._take(partition, records)
                self._look(client)
                if loop.time() - last >= self._config.commit_seconds:
                    last = loop.time()
                    await self._commit()
        finally:
            await self._leave(client)

    def _look(self, client: Any) -> None:
        for partition in client.assignment() & self._progress.keys():
            self._progress[partition].end = client.highwater(partition)

    async def _take(self, partition: TopicPartition, records: Sequence[Any]) -> None:
        """Put a partition's next records in line."""
        progress = self._progress.get(partition)
        self._note(partition, records, progress)
        name, end = f"{partition.topic}/{partition.partition}", records[-1].offset + 1
        # In a thread: events are read one by one, and heartbeats wait for the loop.
        batches = await asyncio.to_thread(self._batches, records, name)
        for batch in batches[:-1]:
            await self._line.submit(batch, _nothing)
        for batch in batches[-1:]:
            await self._line.submit(batch, partial(_stored, progress, end))
        self.counts.records += len(records)

    def _note(
        self, partition: TopicPartition, records: Sequence[Any], progress: _Progress | None
    ) -> None:
        if progress is None:
            return
        first = records[0].offset
        if progress.read is not None and first > progress.read:
            missed = first - progress.read
            self.counts.records_missed += missed
            log.error("Kafka had deleted %d events of %s before they were read", missed, partition)
        progress.read = records[-1].offset + 1

    def _batches(self, records: Sequence[Any], partition: str) -> list[Batch]:
        found: list[Recorded] = []
        for record in records:
            try:
                found.append(decode(record.value or b""))
            except BrokenEvent as error:
                self.counts.records_broken += 1
                log.warning("record %d of %s is no event: %s", record.offset, partition, error)
        return list(batches_of(found, partition))

    async def _commit(self) -> None:
        """Commit what is stored; what cannot be is read again by whoever has the partition then."""
        due = {
            partition: progress.stored
            for partition, progress in self._progress.items()
            if progress.stored > progress.committed
        }
        if not due:
            return
        try:
            # It tries again what got no answer.
            async with asyncio.timeout(2 * self._config.request_seconds):
                await self._client.commit(due)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("offsets are not committed, as partitions are given out anew: %s", error)
            return
        except (KafkaError, TimeoutError) as error:
            log.warning("offsets are not committed: %r", error)
            return
        for partition, offset in due.items():
            if partition in self._progress:
                self._progress[partition].committed = offset

    async def _leave(self, client: Any) -> None:
        with suppress(TimeoutError):
            await self._line.flush(self._drain_seconds)
        await self._commit()
        self._client, self._progress = None, {}
        with suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(self._config.request_seconds):
                await client.stop()


def _nothing(batch: Batch) -> None:
    """Wait for the last batch of what came together."""


def _stored(progress: _Progress | None, end: int, batch: Batch) -> None:
    """Note how far a partition is stored; one that was taken away meanwhile is another's matter."""
    if progress is not None:
        progress.stored = max(progress.stored, end)
