"""A Kafka cluster as events need it: its clients, and its two topics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import cramjam  # noqa: F401  # by which aiokafka speaks zstd
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from services.analytics.kafka.config import KafkaConfig, connection
from services.analytics.kafka.seldom import log_seldom
from services.analytics.ports import StoreError

# A broker that is gone is asked again so often, and each time says so in the log.
RETRY_MS = 500
METADATA_MS = 60_000  # after so long, partitions that were added are seen
SEEN_S = 0.05  # between two looks for topics that were made
# With so many replicas a write waits for two of them, and goes on without the third.
SAFE_REPLICAS = 3


class KafkaCluster:
    """Makes clients; raises StoreError and KafkaError."""

    def __init__(self, config: KafkaConfig) -> None:
        self.config = config
        log_seldom()

    def __repr__(self) -> str:
        return f"<KafkaCluster {self.config.servers}>"

    def check(self) -> None:
        """Raise StoreError for settings with which nothing could be connected."""
        connection(self.config)

    def producer(self) -> Any:
        """Return what writes: to all replicas in sync, and within its life each batch once."""
        return AIOKafkaProducer(
            **connection(self.config),
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",
            max_batch_size=self.config.batch_bytes,
            retry_backoff_ms=RETRY_MS,
            metadata_max_age_ms=METADATA_MS,
        )

    def consumer(self, group: str) -> Any:
        """Return what reads from where its group has come to, at first from the beginning."""
        session_ms = round(self.config.session_seconds * 1000)
        return AIOKafkaConsumer(
            **connection(self.config),
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 3,
            rebalance_timeout_ms=session_ms * 3,
            fetch_max_bytes=self.config.fetch_bytes,
            retry_backoff_ms=RETRY_MS,
            metadata_max_age_ms=METADATA_MS,
        )

    async def partitions(self) -> dict[str, int]:
        """Return how many partitions each topic has; a topic that is missing is made.

        Waits for as long as it takes until what was made is seen: the caller has a bound.
        """
        admin = AIOKafkaAdminClient(**connection(self.config), retry_backoff_ms=RETRY_MS)
        try:
            await admin.start()
            found = await self._found(admin)
            if missing := [topic for topic in self.config.topics if topic not in found]:
                await self._create(admin, missing)
            while len(found) < len(self.config.topics):
                await asyncio.sleep(SEEN_S)
                found = await self._found(admin)
        finally:
            await admin.close()
        return found

    async def _found(self, admin: Any) -> dict[str, int]:
        topics: Sequence[Mapping[str, Any]] = await admin.describe_topics()
        return {
            each["topic"]: len(each["partitions"])
            for each in topics
            if each["topic"] in self.config.topics and each["partitions"]
        }

    async def _create(self, admin: Any, names: Sequence[str]) -> None:
        config = self.config
        if not config.create_topics:
            raise StoreError(
                f"Kafka at {config.servers} has no topic {', '.join(names)}, or none that"
                f" {config.user or 'this client'} may see: make it, with {config.partitions}"
                " partitions, or set kafka_create_topics"
            )
        answer = await admin.create_topics([self._new(name) for name in names])
        for name, code, *why in answer.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                reason = (why and why[0]) or error.description or error.__name__
                raise StoreError(f"Kafka at {config.servers} did not make {name}: {reason}")

    def _new(self, name: str) -> Any:
        replicas = self.config.replication
        safe = {"min.insync.replicas": "2"} if replicas >= SAFE_REPLICAS else None
        topic = NewTopic(name, self.config.partitions, replicas or 1, topic_configs=safe)
        if not replicas:
            topic.replication_factor = -1  # what the brokers have as their default
        return topic
