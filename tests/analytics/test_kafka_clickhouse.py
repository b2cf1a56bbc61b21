"""Two that fill one ClickHouse from Kafka: they share the work, and every event is there once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from libs.common.usage import UsageQuery
from services.analytics.kafka.config import kafka_config
from services.analytics.stores.kafka import KafkaStore
from tests.analytics.kafka_broker import Broker
from tests.analytics.kafka_support import KAFKA, running, settings
from tests.analytics.test_kafka_consumer import many_accounts
from tests.clickhouse.running import RunningClickHouse
from tests.waiting import until

pytestmark = [*KAFKA, pytest.mark.long]


async def test_two_fill_one_clickhouse(
    kafka: Broker, clickhouse: RunningClickHouse, folder: Path
) -> None:
    with clickhouse.database() as address:
        told = {
            f"clickhouse_{field.name}": getattr(address, field.name)
            for field in dataclasses.fields(address)
        }
        one = settings(kafka, folder / "one", stores=("clickhouse",), from_kafka=True, **told)
        other = dataclasses.replace(one, state_dir=folder / "other")
        async with KafkaStore(kafka_config(one)) as store:
            async with running(one) as (first, _), running(other) as (second, _):
                readings = [each.readings["clickhouse"] for each in (first, second)]
                await until(lambda: all(each.lag() for each in readings), 60)
                for number in range(10):
                    await store.write([many_accounts(100 * number + 1, 100)])
                await until(lambda: sum(each.counts.records for each in readings) >= 1000, 60)
            # Who is left reads on, and what was read twice is there once.
            async with running(one) as (last, _):
                await store.write([many_accounts(1, 1000), many_accounts(1001, 100)])
                reading = last.readings["clickhouse"]
                await until(lambda: reading.counts.records >= 1100, 60)
                await last.lines.flush(30)
                answering: Any = last.stores["clickhouse"]
                (row,) = await answering.usage(UsageQuery(), max_rows=10)

    assert row.requests == 1100
    assert min(each.counts.records for each in readings) > 0
