"""Events in a real Kafka: what is in the topics, and what happens when it cannot be written."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import NotLeaderForPartitionError

from libs.common.events.codec import decode
from libs.common.events.values import Batch, LifecycleEvent
from services.analytics.kafka.cluster import KafkaCluster
from services.analytics.ports import StoreError
from services.analytics.stores.kafka import KafkaStore, _send
from tests.analytics.kafka_broker import Broker
from tests.analytics.kafka_support import KAFKA, records, store_config
from tests.analytics.support import batch, event

pytestmark = KAFKA


def of(*accounts: str, first: int = 1) -> Batch:
    events = tuple(event(number, account_id=each) for number, each in enumerate(accounts, first))
    return Batch(server="ams-0", boot_epoch=7, first_sequence=first, events=events)


async def insist(store: KafkaStore, batches: list[Batch]) -> None:
    """Write until it has worked, as analytics does it."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await store.write(batches)
            except StoreError:
                await asyncio.sleep(0.1)


def sequences(found: Sequence[Any]) -> list[int]:
    return [decode(record.value).sequence for record in found]


async def test_a_record_is_the_event_with_its_identity_and_its_key_the_account(
    kafka: Broker,
) -> None:
    config = store_config(kafka)
    appeared = LifecycleEvent(begin_ts=5, model_id="m")
    lifecycle = Batch(server="control", boot_epoch=3, first_sequence=9, events=(appeared, None))
    async with KafkaStore(config) as store:
        await store.write([of("a"), lifecycle])

    (inference,) = await records(config, config.inference_topic)
    (change,) = await records(config, config.lifecycle_topic)

    assert (inference.key, change.key) == (b"a", b"control")
    found = decode(inference.value)
    assert (found.server, found.boot_epoch, found.sequence) == ("ams-0", 7, 1)
    assert found.event == event(1, account_id="a")
    assert decode(change.value).event == appeared


async def test_what_is_of_one_account_is_in_one_partition_in_its_order(kafka: Broker) -> None:
    config = store_config(kafka)
    accounts = [f"account {number % 10}" for number in range(300)]
    async with KafkaStore(config) as store:
        for first in range(0, 300, 100):
            await store.write([of(*accounts[first : first + 100], first=first + 1)])

    found = await records(config, config.inference_topic)

    partitions = defaultdict(set)
    for record in found:
        partitions[record.key].add(record.partition)
    assert all(len(each) == 1 for each in partitions.values())
    assert len({record.partition for record in found}) == config.partitions
    for number in range(config.partitions):
        part = sequences([record for record in found if record.partition == number])
        assert part == sorted(part)
    assert sorted(sequences(found)) == list(range(1, 301))


async def test_a_write_of_many_batches_of_kafkas_is_whole_and_small(kafka: Broker) -> None:
    config = store_config(kafka, kafka_batch_bytes=4096)
    async with KafkaStore(config) as store:
        await store.write([batch(1, 2000)])

    found = await records(config, config.inference_topic)

    assert sequences(found) == list(range(1, 2001))
    # zstd: events are much alike, even in batches that small
    assert kafka.size(config.inference_topic) < sum(len(record.value) for record in found) / 2


async def test_topics_are_made_as_they_are_set(kafka: Broker) -> None:
    config = store_config(kafka, kafka_partitions=5)

    found = await KafkaCluster(config).partitions()

    assert found == {config.inference_topic: 5, config.lifecycle_topic: 5}
    assert await KafkaCluster(replace(config, create_topics=False)).partitions() == found


async def test_what_cannot_be_made_is_told(kafka: Broker) -> None:
    alone = store_config(kafka, kafka_create_topics=False)
    many = store_config(kafka, kafka_replication=3)

    async with KafkaStore(alone) as store:
        with pytest.raises(StoreError, match=r"has no topic .*make it, with 3 partitions, or set"):
            await store.write([batch(1, 1)])
    async with KafkaStore(many) as store:
        with pytest.raises(StoreError, match=r"did not make .* replication factor"):
            await store.write([batch(1, 1)])


async def test_partitions_that_are_added_are_used_by_the_next_process(kafka: Broker) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

    config = store_config(kafka, kafka_partitions=1)
    accounts = [f"account {number}" for number in range(50)]
    async with KafkaStore(config) as store:
        await store.write([of(*accounts)])
        admin = AIOKafkaAdminClient(bootstrap_servers=config.servers)
        await admin.start()
        await admin.create_partitions({config.inference_topic: NewPartitions(4)})
        await admin.close()
        await store._abandon()  # as after a failure
        await store.write([of(*accounts, first=51)])
    assert {each.partition for each in await records(config, config.inference_topic)} == {0}

    async with KafkaStore(config) as store:
        await store.write([of(*accounts, first=101)])

    found = await records(config, config.inference_topic)
    assert {each.partition for each in found} == {0, 1, 2, 3}


async def test_without_a_broker_a_write_fails_in_time_and_leaving_does_not_wait(
    kafka: Broker,
) -> None:
    config = store_config(kafka, kafka_servers="127.0.0.1:9", kafka_write_seconds=3.0)
    began = time.monotonic()
    async with KafkaStore(config) as store:
        with pytest.raises(StoreError, match=r"^Kafka at 127\.0\.0\.1:9[: ]"):
            await store.write([batch(1, 1)])

    assert time.monotonic() - began < 6


async def test_a_broker_that_is_gone_for_a_while_loses_nothing(kafka: Broker) -> None:
    config = store_config(kafka, kafka_write_seconds=1.0, kafka_request_seconds=1.0)
    async with KafkaStore(config) as store:
        await insist(store, [batch(1, 50)])
        with kafka.away():
            with pytest.raises(StoreError, match="did not take them within 1 s"):
                await store.write([batch(51, 50)])
            with pytest.raises(StoreError):  # now it has to connect
                await store.write([batch(51, 50)])
        await insist(store, [batch(51, 50)])

    found = sequences(await records(config, config.inference_topic))
    assert list(dict.fromkeys(found)) == list(range(1, 101))


async def test_leaving_while_the_broker_is_gone_does_not_wait_for_it(kafka: Broker) -> None:
    config = store_config(kafka, kafka_request_seconds=1.0)
    async with KafkaStore(config) as store:
        await store.write([batch(1, 50)])
        with kafka.away():
            writing = asyncio.create_task(store.write([batch(51, 50)]))
            await asyncio.sleep(0.3)
            began = time.monotonic()
            writing.cancel()
            await asyncio.wait([writing])
            assert time.monotonic() - began < 4


async def test_with_tls_and_a_password(kafka: Broker, folder: Path) -> None:
    secure = kafka.secure_settings("secure.")
    config = store_config(kafka, **secure)
    async with KafkaStore(config) as store:
        await insist(store, [batch(1, 3)])
    assert sequences(await records(store_config(kafka), config.inference_topic)) == [1, 2, 3]

    wrong = folder / "wrong"
    wrong.write_text("guessed")
    async with KafkaStore(replace(config, password_file=wrong)) as store:
        with pytest.raises(StoreError, match=kafka.secure_servers):
            await store.write([batch(1, 3)])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param({"kafka_security": "SASL_SSL"}, "kafka_user and kafka_password", id="no user"),
        pytest.param(
            {
                "kafka_security": "SASL_PLAINTEXT",
                "kafka_user": "u",
                "kafka_password_file": Path("/absent"),
            },
            "kafka_password_file /absent: .*No such file",
            id="no password",
        ),
        pytest.param(
            {"kafka_security": "SSL", "kafka_ca_file": Path("/absent")},
            r"kafka_ca_file.*/absent.*No such file",
            id="no authority",
        ),
        pytest.param(
            {"kafka_security": "SSL", "kafka_cert_file": Path("/absent")},
            "expected both or none",
            id="half a certificate",
        ),
    ],
)
async def test_settings_that_cannot_connect_are_refused_at_the_start(
    kafka: Broker, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(StoreError, match=text):
        async with KafkaStore(store_config(kafka, **changes)):
            pass


class FailingProducer:
    """Notes what it is given; the first of it fails, which a real broker does at no wish."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send_batch(self, builder: str, topic: str, *, partition: int) -> Any:
        self.sent.append(builder)
        future = asyncio.get_running_loop().create_future()
        future.set_exception(NotLeaderForPartitionError())
        return future


async def test_what_comes_behind_a_batch_that_failed_is_not_sent() -> None:
    producer = FailingProducer()

    with pytest.raises(NotLeaderForPartitionError):
        await _send(producer, ("topic", 0), ["first", "second"])

    assert producer.sent == ["first"]
