"""Under load, by way of Kafka: broker, collector and reader die, and no event does."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from libs.common.backoff import Backoff
from libs.common.events.sinks import SinkConfig, UnixSocketSink
from tests.analytics.kafka_broker import Broker
from tests.analytics.kafka_support import KAFKA, rows, running, settings
from tests.analytics.support import event
from tests.analytics.test_kafka_consumer import process
from tests.contract.event_stores import requests
from tests.waiting import until

SINK = SinkConfig(
    backoff=Backoff(first_s=0.02, most_s=0.1), pending_events=100_000, close_seconds=30
)


pytestmark = KAFKA


@pytest.mark.timeout(170)
async def test_whoever_dies_every_event_is_in_the_stores_once(kafka: Broker, folder: Path) -> None:
    changes = {"write_age_seconds": 0.1, "kafka_write_seconds": 3.0}
    collects = settings(kafka, folder / "a", stores=("duckdb", "kafka"), **changes)
    reads = dataclasses.replace(
        collects, state_dir=folder / "b", stores=("duckdb",), from_kafka=True
    )
    async with (
        asyncio.timeout(160),
        UnixSocketSink(collects.events_socket, server="ams-0", boot_epoch=1, config=SINK) as sink,
    ):
        emitting = asyncio.create_task(emit(sink))
        async with running(collects), process(reads) as reader:
            await more(sink)
            await asyncio.to_thread(kafka.kill)
            await asyncio.sleep(0.3)
            reader.kill()
            await asyncio.to_thread(kafka.start)
            await more(sink)
        # The collector and what reads begin anew, while more comes.
        async with running(collects), running(reads) as (analytics, _):
            await more(sink)
            emitting.cancel()
            await sink.flush(40)
            store: Any = analytics.stores["duckdb"]
            async with asyncio.timeout(40):
                while await requests(store) < sink.counts.ok:
                    await asyncio.sleep(0.1)

    assert sink.counts.dropped == 0
    expected = [(number + 1, event(number).request_id) for number in range(sink.counts.ok)]
    assert rows(collects.store_file) == expected
    assert rows(reads.store_file) == expected


async def more(sink: UnixSocketSink) -> None:
    """Wait until it goes on."""
    target = sink.counts.ok + 200
    await until(lambda: sink.counts.ok > target, 40)


async def emit(sink: UnixSocketSink) -> None:
    for number in itertools.count():
        sink.emit(event(number, account_id=f"account {number % 50}"))
        if number % 10 == 0:
            await asyncio.sleep(0.02)
