"""Events in Kafka's topics, from where others take them into a store.

What makes it harmless that a write is repeated: of each boot, a partition has
the events in the order of their sequence. It may begin again at an earlier one,
but what was not there before never comes behind what follows it. So a partition
gets its next batch only when the last one is there; and after a failure a new
producer begins again at the first event that is not acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from types import TracebackType
from typing import Any, Self, TypeAlias

from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from libs.common.events.values import Batch, InferenceEvent
from services.analytics.kafka.cluster import KafkaCluster
from services.analytics.kafka.config import KafkaConfig
from services.analytics.kafka.records import keyed
from services.analytics.ports import StoreError

log = logging.getLogger(__name__)
Partition: TypeAlias = tuple[str, int]


class KafkaStore:
    """Connects with the first write, so that a Kafka that is away keeps nobody from starting."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._cluster = KafkaCluster(config)
        self._producer: Any = None
        # As long as the process lives: an account that moved between a write and its repetition
        # would be in two partitions, and be kept twice.
        self._partitions: dict[str, int] = {}

    def __repr__(self) -> str:
        way = "open" if self._producer else "closed"
        return f"<KafkaStore {self._config.servers} {way}>"

    async def __aenter__(self) -> Self:
        self._cluster.check()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._abandon()

    async def write(self, batches: Sequence[Batch]) -> None:
        """Return when all replicas that are in sync have every event."""
        written = False
        try:
            async with asyncio.timeout(self._config.write_seconds):
                await self._write(batches)
            written = True
        except TimeoutError as error:
            raise StoreError(
                f"Kafka at {self._config.servers} did not take them within"
                f" {self._config.write_seconds:g} s"
            ) from error
        except (KafkaError, OSError) as error:
            raise StoreError(f"Kafka at {self._config.servers}: {_line(error)}") from error
        finally:
            if not written:
                await self._abandon()

    async def _write(self, batches: Sequence[Batch]) -> None:
        producer = await self._open()
        # In a thread: events are encoded one by one, and others' work waits for the loop.
        builders = await asyncio.to_thread(self._builders, producer, batches)
        await asyncio.gather(
            *(_send(producer, partition, line) for partition, line in builders.items())
        )

    async def _open(self) -> Any:
        if self._producer is None:
            found = await self._cluster.partitions()
            self._partitions = {
                topic: min(count, self._partitions.get(topic, count))
                for topic, count in found.items()
            }
            producer = self._producer = self._cluster.producer()
            await producer.start()
        return self._producer

    def _builders(self, producer: Any, batches: Sequence[Batch]) -> dict[Partition, list[Any]]:
        """Return Kafka's batches of every partition, each as large as one may be."""
        config, partitions = self._config, self._partitions
        builders: dict[Partition, list[Any]] = {}
        for key, event, value in keyed(batches):
            is_inference = isinstance(event, InferenceEvent)
            topic = config.inference_topic if is_inference else config.lifecycle_topic
            line = builders.setdefault((topic, _partition(key, partitions[topic])), [])
            if not line or line[-1].append(timestamp=None, key=key, value=value) is None:
                line.append(producer.create_batch())
                line[-1].append(timestamp=None, key=key, value=value)
        return builders

    async def _abandon(self) -> None:
        """Close the producer; what it holds is written anew, by another."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(2 * self._config.request_seconds):
                await _give_up(producer)
                await producer.stop()
        except (KafkaError, OSError, TimeoutError) as error:
            log.debug("a producer ended by %r", error)
        finally:
            await producer.client.close()


async def _give_up(producer: Any) -> None:
    """Have it send nothing more: an idempotent producer tries for ever, and to stop waits for it.

    aiokafka has no call for that. Requests under way end first, each within its bound.
    """
    if producer._sender.sender_task is None:
        return  # it has not even begun
    try:
        await producer._sender.close()
    finally:
        held = producer._message_accumulator
        held._pending_batches.update(chain(*held._batches.values()))
        for batch in held._pending_batches:
            batch.future.cancel()


async def _send(producer: Any, partition: Partition, builders: Sequence[Any]) -> None:
    topic, number = partition
    for builder in builders:
        await (await producer.send_batch(builder, topic, partition=number))


@lru_cache(10_000)
def _partition(key: bytes, count: int) -> int:
    """Return where Kafka's own clients put a key; in Python, that takes as long as an event."""
    partitions = range(count)
    number: int = DefaultPartitioner()(key, partitions, partitions)
    return number


def _line(error: Exception) -> str:
    """Return one line for people."""
    return str(error).partition("\n")[0] or type(error).__name__
