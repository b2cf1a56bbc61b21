"""From a real Kafka into a store: whole, once, whoever dies on the way."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import random
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from msgspec.structs import replace

from libs.common.clients.usage import UsageClient
from libs.common.errors import Unavailable
from libs.common.events.sinks import UnixSocketSink
from libs.common.events.values import Batch
from libs.common.usage import UsageQuery
from services.analytics.app import Analytics, Config
from services.analytics.kafka.config import kafka_config
from services.analytics.stores.kafka import KafkaStore
from tests.analytics.kafka_broker import Broker
from tests.analytics.kafka_support import KAFKA, rows, running, settings
from tests.analytics.support import batch, event
from tests.waiting import until

pytestmark = KAFKA


def reads(kafka: Broker, folder: Path, **changes: object) -> Config:
    """Settings of what fills a DuckDB from Kafka."""
    return settings(
        kafka,
        folder,
        **{"from_kafka": True, "stores": ("duckdb",), "write_age_seconds": 0.05, **changes},
    )


def many_accounts(first: int, count: int) -> Batch:
    """A batch whose events are spread over all partitions."""
    found = batch(first, count)
    events = (
        event(number, account_id=f"account {number % 30}") for number in range(first, first + count)
    )
    return replace(found, events=tuple(events))


def has(analytics: Analytics, store: str, count: int) -> bool:
    """Whether so many records have been read, and all that Kafka has told of are stored."""
    reading: Any = analytics.readings[store]
    lag = reading.lag()
    every = len(lag) == 2 * reading._config.partitions
    return reading.counts.records >= count and every and not any(lag.values())


@asynccontextmanager
async def process(config: Config) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run it; a line of its output for each time that it has stored something."""
    given = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in dataclasses.asdict(config).items()
    }
    made = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.analytics.reading_process",
        json.dumps(given),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert made.stdout is not None
        async with asyncio.timeout(30):
            assert await made.stdout.readline() == b"0\n"
        yield made
    finally:
        if made.returncode is None:
            made.kill()
        await made.wait()


async def test_events_go_by_kafka_into_the_store_and_usage_is_asked_there(
    kafka: Broker, folder: Path
) -> None:
    config = reads(kafka, folder, stores=("duckdb", "kafka"))
    async with (
        running(config) as (analytics, address),
        UnixSocketSink(config.events_socket, server="ams-0", boot_epoch=1) as sink,
        UsageClient(address) as client,
    ):
        for number in range(1000):
            sink.emit(event(number, account_id=f"account {number % 7}"))
        await sink.flush(10)
        await until(lambda: has(analytics, "duckdb", 1000), 20)

        (row,) = await client.query(UsageQuery())

    assert (row.requests, row.neurons) == (1000, 1500.0)


async def test_where_only_kafka_is_written_usage_says_where_to_ask(
    kafka: Broker, folder: Path
) -> None:
    config = settings(kafka, folder, stores=("kafka",))
    async with running(config) as (_, address), UsageClient(address) as client:
        with pytest.raises(Unavailable, match="kafka answers no questions; ask where its events"):
            await client.query(UsageQuery())


async def test_what_only_reads_takes_no_events_of_this_machine(kafka: Broker, folder: Path) -> None:
    config = reads(kafka, folder)
    async with running(config):
        assert config.usage_socket.exists()
        assert not config.events_socket.exists()


async def test_what_is_in_kafka_twice_is_stored_once(kafka: Broker, folder: Path) -> None:
    config = reads(kafka, folder)
    async with KafkaStore(kafka_config(config)) as store:
        await store.write([many_accounts(1, 100)])
        await store.write([many_accounts(51, 100)])
        await store._abandon()  # as after a failure: all that is not acknowledged once more
        await store.write([many_accounts(1, 200)])
    for _ in range(2):  # the second time, from what it has committed
        async with running(config) as (analytics, _):
            await until(lambda: has(analytics, "duckdb", 0), 20)

    assert [sequence for sequence, _ in rows(config.store_file)] == list(range(1, 201))


async def test_a_new_store_gets_everything_and_takes_no_other_ones_part(
    kafka: Broker, folder: Path
) -> None:
    first = reads(kafka, folder / "first")
    second = dataclasses.replace(first, state_dir=folder / "second")
    async with KafkaStore(kafka_config(first)) as store:
        await store.write([many_accounts(1, 100)])
        async with running(first) as (one, _):
            await until(lambda: has(one, "duckdb", 100), 20)
            async with running(second) as (other, _):
                await store.write([many_accounts(101, 100)])
                await until(lambda: has(one, "duckdb", 200) and has(other, "duckdb", 200), 20)

    for config in (first, second):
        assert len(rows(config.store_file)) == 200


async def test_a_record_that_is_no_event_is_left_out_and_counted(
    kafka: Broker, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = reads(kafka, folder, kafka_partitions=1)
    async with KafkaStore(kafka_config(config)) as store:
        await store.write([batch(1, 3)])
        other = AIOKafkaProducer(bootstrap_servers=config.kafka_servers)
        async with other:
            await other.send_and_wait(config.kafka_inference_topic, b"somebody else's")
            await other.send_and_wait(config.kafka_inference_topic, None, key=b"a tombstone")
        await store.write([batch(4, 3)])
    with caplog.at_level(logging.WARNING, "services"):
        async with running(config) as (analytics, _):
            await until(lambda: has(analytics, "duckdb", 8), 20)

            assert analytics.readings["duckdb"].counts.records_broken == 2

    assert "record 3 of" in caplog.text
    assert [sequence for sequence, _ in rows(config.store_file)] == list(range(1, 7))


async def test_what_kafka_deleted_before_it_was_read_is_counted(
    kafka: Broker, folder: Path
) -> None:
    config = reads(kafka, folder, kafka_partitions=1)
    async with KafkaStore(kafka_config(config)) as store:
        await store.write([batch(1, 10)])
        async with running(config) as (analytics, _):
            await until(lambda: has(analytics, "duckdb", 10), 20)
        await store.write([batch(11, 90)])
    admin = AIOKafkaAdminClient(bootstrap_servers=config.kafka_servers)
    await admin.start()
    partition = TopicPartition(config.kafka_inference_topic, 0)
    await admin.delete_records({partition: RecordsToDelete(before_offset=60)})
    await admin.close()

    async with running(config) as (analytics, _):
        await until(lambda: has(analytics, "duckdb", 40), 20)

        assert analytics.readings["duckdb"].counts.records_missed == 50
    assert len(rows(config.store_file)) == 50


async def test_reading_goes_on_when_the_broker_is_back(kafka: Broker, folder: Path) -> None:
    config = reads(kafka, folder)
    async with running(config) as (analytics, _):
        async with KafkaStore(kafka_config(config)) as store:
            await store.write([many_accounts(1, 100)])
        await until(lambda: has(analytics, "duckdb", 100), 20)
        with kafka.away():
            await asyncio.sleep(6)  # longer than requests may take, and than the session
        async with KafkaStore(kafka_config(config)) as store:
            await store.write([many_accounts(101, 100)])
        await until(lambda: has(analytics, "duckdb", 200), 30)

    assert len(rows(config.store_file)) == 200


@pytest.mark.long
async def test_killed_at_any_moment_it_stores_everything_once(kafka: Broker, folder: Path) -> None:
    config, dice = reads(kafka, folder, write_events=500), random.Random(7)
    async with KafkaStore(kafka_config(config)) as store:
        for first in range(1, 10_001, 500):
            await store.write([many_accounts(first, 500)])
    for _ in range(5):
        async with process(config) as made:
            assert made.stdout is not None
            assert await made.stdout.readline() != b""  # until it is at work
            await asyncio.sleep(dice.uniform(0.0, 0.05))
            made.kill()
    async with running(config) as (analytics, _):
        await until(lambda: has(analytics, "duckdb", 0), 30)

    assert [sequence for sequence, _ in rows(config.store_file)] == list(range(1, 10_001))


async def test_two_share_the_partitions_and_one_takes_over_when_the_other_is_killed(
    kafka: Broker, folder: Path
) -> None:
    file = folder / "shared.sqlite"

    def writers() -> dict[str, int]:
        with sqlite3.connect(file) as connection:
            found = connection.execute("SELECT writer, count(*) FROM events GROUP BY writer")
            return dict(found.fetchall())

    one, other = (
        reads(kafka, folder / name, stores=("shared",), kafka_group="shared.group")
        for name in ("one", "other")
    )
    other = dataclasses.replace(one, state_dir=other.state_dir)
    written = 0
    async with KafkaStore(kafka_config(one)) as store, process(one) as first, process(other):
        while len(writers()) < 2:  # until both have a part
            await store.write([many_accounts(written + 1, 100)])
            written += 100
            await asyncio.sleep(0.05)
        for number in range(20):
            if number == 5:
                first.kill()
            await store.write([many_accounts(written + 1, 100)])
            written += 100
            await asyncio.sleep(0.02)
        async with asyncio.timeout(40):
            while sum(writers().values()) < written:
                await asyncio.sleep(0.1)

    assert sum(writers().values()) == written
    assert set(writers()) == {"one", "other"}
