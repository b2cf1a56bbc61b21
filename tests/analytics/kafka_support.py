"""What the tests with Kafka share: settings, what is in a topic, analytics that read it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import CollectorRegistry

from services.analytics.app import Analytics, Config, build, serve
from services.analytics.kafka.config import KafkaConfig, kafka_config
from tests.analytics.kafka_broker import Broker

# What every module of tests with Kafka is marked with.
KAFKA = [
    pytest.mark.xdist_group("kafka"),
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # see the fixture `kafka`
]


def settings(kafka: Broker, folder: Path, **changes: Any) -> Config:
    """Settings with topics that no other test has; the tests' events are of 1970, and kept."""
    prefix = f"{uuid.uuid4().hex[:8]}."
    keep = {"keep_events_days": 0, "keep_usage_days": 0}
    return Config(state_dir=folder, **(kafka.settings(prefix) | keep | changes))


def store_config(kafka: Broker, **changes: Any) -> KafkaConfig:
    """The same, as the store takes them."""
    return kafka_config(settings(kafka, Path(), **changes))


async def records(config: KafkaConfig, topic: str) -> list[Any]:
    """All records of a topic, partition by partition, as any other consumer sees them."""
    found: list[Any] = []
    client = AIOKafkaConsumer(bootstrap_servers=config.servers, auto_offset_reset="earliest")
    await client.start()
    try:
        await client._client.force_metadata_update()
        numbers = await client._client._wait_on_metadata(topic)
        partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
        client.assign(partitions)
        ends = await client.end_offsets(partitions)
        for partition in partitions:
            while await client.position(partition) < ends[partition]:
                came = await client.getmany(partition, timeout_ms=1000)
                found += came.get(partition, [])
    finally:
        await client.stop()
    return found


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[tuple[Analytics, str]]:
    """Run analytics; yields it and where usage is asked."""
    analytics = build(config, registry=CollectorRegistry())
    async with serve(config, analytics) as addresses:
        yield analytics, addresses[0]


def rows(file: Path) -> list[tuple[int, str]]:
    """The sequences and request ids in a store that nobody has open."""
    with duckdb.connect(str(file)) as connection:
        return connection.execute(
            "SELECT sequence, request_id FROM inference_events ORDER BY sequence"
        ).fetchall()
