"""The suite of EventStore once more, with a real Kafka between what writes and the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from libs.common.events.values import Batch
from libs.common.usage import UsageQuery, UsageRow
from services.analytics.app import Analytics
from services.analytics.kafka.config import kafka_config
from services.analytics.stores.kafka import KafkaStore
from tests.analytics.kafka_broker import Broker
from tests.analytics.kafka_support import KAFKA, running, settings
from tests.contract.event_stores import Open
from tests.contract.test_event_store import *  # noqa: F403  # its tests are these
from tests.waiting import until

pytestmark = KAFKA


class BehindKafka:
    """Writes into Kafka, and has written what the store behind it has."""

    def __init__(self, front: KafkaStore, behind: Analytics) -> None:
        self._front = front
        self._behind = behind
        self._written = 0

    async def write(self, batches: Sequence[Batch]) -> None:
        await self._front.write(batches)
        events = (event for batch in batches for event in batch.events)
        self._written += sum(event is not None for event in events)
        reading = self._behind.readings["duckdb"]
        await until(lambda: reading.counts.records >= self._written, 30)
        await self._behind.lines.flush(30)

    async def usage(self, query: UsageQuery, *, max_rows: int) -> list[UsageRow]:
        store: Any = self._behind.stores["duckdb"]
        rows: list[UsageRow] = await store.usage(query, max_rows=max_rows)
        return rows


@pytest.fixture
def opened(kafka: Broker, folder: Path) -> Open:
    config = settings(kafka, folder, stores=("duckdb",), from_kafka=True, write_age_seconds=0.01)

    @asynccontextmanager
    async def open_it() -> AsyncIterator[BehindKafka]:
        async with KafkaStore(kafka_config(config)) as front, running(config) as (behind, _):
            yield BehindKafka(front, behind)

    return open_it
