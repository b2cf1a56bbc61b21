"""The ClickHouse store: tables, repetition, failures. What all stores do is in tests/contract."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import fields, replace
from prometheus_client import CollectorRegistry

from libs.common.backoff import Backoff
from libs.common.clock import SystemClock
from libs.common.events.sinks import UnixSocketSink
from libs.common.events.values import Batch, InferenceEvent, LifecycleEvent
from libs.common.hops import HopTls
from libs.common.usage import RecentQuery, UsageQuery
from services.analytics.app import Config, build, serve
from services.analytics.ports import StoreError
from services.analytics.received import FEWEST, Received, read_batch
from services.analytics.stores import clickhouse_schema
from services.analytics.stores.clickhouse import ClickHouseStore
from services.analytics.stores.clickhouse_client import ClickHouseAddress, StoreAway
from services.analytics.stores.clickhouse_hours import DAY_MS
from services.analytics.stores.clickhouse_rollup import RollUp
from services.analytics.stores.clickhouse_tables import Retention
from services.analytics.storing import Storing
from tests.analytics.support import batch, event, frame
from tests.certificates import certified
from tests.clickhouse.running import RunningClickHouse, running
from tests.system.harness import free_ports

ENDLESS = "SELECT count() AS requests FROM numbers(100000000000) WHERE sipHash64(number) = 3"
BRIEF = {"max_execution_time": 1}
NEVER = RollUp(every_seconds=0)
SOON = Backoff(first_s=0.05, most_s=0.2)

pytestmark = pytest.mark.xdist_group("clickhouse")


@pytest.fixture
def address(clickhouse: RunningClickHouse) -> Any:
    with clickhouse.database() as address:
        yield address


def read(address: ClickHouseAddress, sql: str) -> list[tuple[Any, ...]]:
    client = address.connect(seconds=10)
    try:
        return [tuple(row) for row in client.query(sql).result_rows]
    finally:
        client.close()


def do(address: ClickHouseAddress, *statements: str) -> None:
    client = address.connect(seconds=10)
    for statement in statements:
        client.command(statement)
    client.close()


def store(address: ClickHouseAddress, **options: Any) -> ClickHouseStore:
    return ClickHouseStore(address, roll_up=NEVER, **options)


async def requests(store: ClickHouseStore) -> int:
    return sum(row.requests for row in await store.usage(UsageQuery(), max_rows=10))


async def test_a_row_has_the_events_values(address: ClickHouseAddress) -> None:
    one = event(visited_colos=("ams", "lhr"), flags=5, tokens_in=2**64 - 1, hops=2)
    gone = LifecycleEvent(begin_ts=5, end_ts=9, colo="ams", endpoint="h:1")
    async with store(address) as opened:
        await opened.write(
            [Batch(server="ams-0", boot_epoch=7, first_sequence=3, events=(one, gone))]
        )

    assert read(
        address,
        "SELECT server, boot_epoch, sequence, request_source, flags, visited_colos, tokens_in,"
        " hops, hour_ms FROM inference_events",
    ) == [("ams-0", 7, 3, "rest", 5, ["ams", "lhr"], 2**64 - 1, 2, 3_600_000_000)]
    assert read(address, "SELECT * FROM lifecycle_events") == [
        ("ams-0", 7, 4, 5, 9, "endpoint", "", "", "ams", "", "h:1")
    ]


async def test_a_batch_in_columns_is_the_same_as_one_of_events(address: ClickHouseAddress) -> None:
    events = tuple(
        event(number, tokens_in=2**64 - 1, account_id="\U0001f600", error_code=number % 3)
        for number in range(2 * FEWEST)
    )
    sent = Batch(server="ams-0", boot_epoch=1, first_sequence=1, events=events)
    received = read_batch(frame(sent)[4:], max_events=2 * FEWEST)
    assert isinstance(received.events, Received)
    async with store(address) as opened:
        await opened.write([replace(sent, server="as events"), replace(received, server="ams-0")])

    columns = "* EXCEPT server"
    by_server = f"SELECT {columns} FROM inference_events WHERE server = '{{}}' ORDER BY sequence"
    rows = read(address, by_server.format("as events"))
    assert rows == read(address, by_server.format("ams-0"))
    assert len(rows) == 2 * FEWEST


async def test_the_columns_are_the_fields_of_the_event(address: ClickHouseAddress) -> None:
    async with store(address):
        pass

    for table, cls in (("inference_events", InferenceEvent), ("lifecycle_events", LifecycleEvent)):
        names = [name for name, *_ in read(address, f"DESCRIBE {table}")]
        own = [name for name in names if name not in ("hour_ms", "stored_ms")]
        assert own == ["server", "boot_epoch", "sequence", *(each.name for each in fields(cls))]


async def test_tables_from_before_are_brought_up_to_date(
    address: ClickHouseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store(address) as opened:
        await opened.write([batch(1, 2)])
    step = ("ALTER TABLE inference_events ADD COLUMN IF NOT EXISTS mood String",)
    monkeypatch.setattr(
        "services.analytics.stores.clickhouse_tables.MIGRATIONS",
        (*clickhouse_schema.MIGRATIONS, step),
    )
    do(address, *step)  # one that was interrupted before its number was written
    for _ in range(2):
        async with store(address) as opened:
            await opened.write([batch(1, 3)])

    assert read(address, "SELECT mood, count() FROM inference_events FINAL GROUP BY mood") == [
        ("", 3)
    ]
    assert read(address, "SELECT version FROM schema_version ORDER BY version") == [(1,), (2,)]


async def test_tables_from_a_newer_version_are_refused(address: ClickHouseAddress) -> None:
    async with store(address):
        pass
    do(address, "INSERT INTO schema_version (version) VALUES (99)")

    with pytest.raises(StoreError, match=r"newer version \(schema 99"):
        async with store(address):
            pass


async def test_repeated_with_other_boundaries_by_others_it_is_kept_once(
    address: ClickHouseAddress,
) -> None:
    dice = random.Random(7)
    async with store(address) as one, store(address) as other:
        do(address, "SYSTEM STOP MERGES inference_events")
        seen = {one: 0, other: 0}
        while min(seen.values()) < 100:
            each = dice.choice((one, other))
            first = dice.randint(1, min(seen[each] + 1, 100))  # again from there, or going on
            last = dice.randint(first, min(first + 40, 100))
            await each.write([batch(first, last - first + 1)])
            seen[each] = max(seen[each], last)
        await asyncio.gather(
            *(ClickHouseStore.write(again, [batch(1, 60)]) for again in (one, other))
        )

        unmerged = read(address, "SELECT count() FROM inference_events")
        before = await requests(one)
        do(address, "SYSTEM START MERGES inference_events", "OPTIMIZE TABLE inference_events FINAL")
        after = await requests(other)

    assert unmerged > [(100,)]
    assert (before, after) == (100, 100)
    assert read(address, "SELECT count() FROM inference_events") == [(100,)]


@pytest.mark.parametrize("days", [(90, 400), (30, 0), (0, 400), (90, 20), (0, 0)])
async def test_rows_are_kept_so_long(address: ClickHouseAddress, days: tuple[int, int]) -> None:
    events, usage = days
    async with store(address, retention=Retention(events_days=7)):
        pass
    async with store(address, retention=Retention(events_days=events, usage_days=usage)):
        pass

    found = dict(read(address, "SELECT name, engine_full FROM system.tables"))
    kept_events = min(events or 20_000, usage or 20_000) % 20_000
    wanted = {"inference_events": kept_events, "usage_hourly": usage}
    for table, kept in wanted.items():
        assert (f"toIntervalDay({kept})" in found[table]) is (kept > 0)
        assert (" TTL " in found[table]) is (kept > 0)


async def test_what_is_too_old_goes_and_what_no_date_can_hold_stays(
    address: ClickHouseAddress,
) -> None:
    ((now,),) = read(address, "SELECT toUnixTimestamp(now()) * 1000")
    times = [now - 9 * DAY_MS, now - DAY_MS, 2**64 - 1]
    events = tuple(event(at, timestamp_ms=when) for at, when in enumerate(times))
    async with store(address) as opened:
        await opened.write([Batch(server="a", boot_epoch=1, first_sequence=1, events=events)])
    async with store(address, retention=Retention(events_days=7)):
        pass

    do(address, "OPTIMIZE TABLE inference_events FINAL")

    left = read(address, "SELECT timestamp_ms FROM inference_events ORDER BY timestamp_ms")
    assert left == [(when,) for when in times[1:]]


async def test_a_wrong_password_is_told_in_one_line(address: ClickHouseAddress) -> None:
    wrong = ClickHouseAddress(url=address.url, password="wrong")

    with pytest.raises(StoreError, match="refuses the user or its password") as raised:
        async with store(wrong):
            pass

    assert "\n" not in str(raised.value)
    assert not isinstance(raised.value, StoreAway)
    assert "wrong" not in repr(wrong)


async def test_a_password_may_be_in_a_file(address: ClickHouseAddress, folder: Path) -> None:
    file = folder / "password"
    from_file = ClickHouseAddress(url=address.url, password_file=file)
    with pytest.raises(StoreError, match=r"password_file .*: No such file"):
        async with store(from_file):
            pass
    file.write_text(f"{address.password}\n")

    async with store(from_file) as opened:
        assert await requests(opened) == 0


@asynccontextmanager
async def over_tls(port: int, tls: HopTls) -> AsyncIterator[int]:
    """A port where TLS ends before that one."""
    tasks: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
            writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to_it = await asyncio.open_connection("127.0.0.1", port)
        tasks.add(asyncio.ensure_future(pipe(reader, to_it)))
        await pipe(behind, writer)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.cert, tls.key)
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_over_https_the_certificate_has_to_be_good(
    address: ClickHouseAddress, folder: Path
) -> None:
    tls = certified(folder)
    port = int(address.url.rpartition("/")[0].rpartition(":")[2])
    async with over_tls(port, tls) as secure_port:
        good = replaced(
            address,
            url=f"https://localhost:{secure_port}/{address.database}",
            ca_file=tls.ca,
        )
        async with store(good) as opened:
            await opened.write([batch(1, 3)])
            assert await requests(opened) == 3

        for ca_file, mistake in (
            (None, "certificate is not good"),
            (folder / "no", "is not there"),
        ):
            with pytest.raises(StoreError, match=mistake) as raised:
                async with store(replaced(good, ca_file=ca_file)):
                    pass
            assert not isinstance(raised.value, StoreAway)


async def test_a_failed_question_is_told_in_one_line(address: ClickHouseAddress) -> None:
    async with store(address) as opened:
        do(address, "DROP TABLE inference_events")

        with pytest.raises(StoreError, match="inference_events") as raised:
            await requests(opened)
        with pytest.raises(StoreError):
            await opened.write([batch(1, 1)])

    assert "\n" not in str(raised.value)
    assert "version" not in str(raised.value)


async def test_a_question_that_takes_too_long_is_stopped(
    address: ClickHouseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store(address, query_seconds=1.0) as opened:
        with monkeypatch.context() as patch:
            patch.setattr(
                "services.analytics.stores.clickhouse.statement", lambda *_, **__: (ENDLESS, {})
            )
            with pytest.raises(TimeoutError):
                await requests(opened)
        await asyncio.sleep(1)

        assert await requests(opened) == 0


async def test_an_insert_that_takes_too_long_is_one_that_failed(
    address: ClickHouseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store(address, write_seconds=1) as opened:
        with monkeypatch.context() as patch:
            patch.setattr(opened, "_write", lambda _, client: client.query(ENDLESS, settings=BRIEF))
            with pytest.raises(StoreAway, match="is slow"):
                await opened.write([batch(1, 2)])

        await opened.write([batch(1, 2)])
        assert await requests(opened) == 2


async def test_while_it_is_away_events_wait_and_none_is_lost_or_doubled(folder: Path) -> None:
    (port,) = free_ports(1)
    dice = random.Random(3)
    with running(folder / "data", port=port) as fragile:
        await killed_at_work(fragile, dice)


async def killed_at_work(fragile: RunningClickHouse, dice: random.Random) -> None:
    address = fragile.address("events")
    async with store(address, write_seconds=5) as opened:  # though it is away
        with pytest.raises(StoreAway, match=r"cannot be reached: Connection refused$"):
            await opened.write([batch(1, 1)])
        with pytest.raises(StoreAway):
            await requests(opened)

        storing = Storing(store=opened, name="clickhouse", clock=SystemClock(), retry=SOON)
        async with storing.running():
            for first in range(1, 6001, 300):
                await storing.submit(batch(first, 300), lambda batch: None)
            for _ in range(2):
                fragile.start()
                await asyncio.sleep(dice.uniform(0.0, 0.3))  # in the middle of what it does
                fragile.kill()
            fragile.start()
            await storing.flush(30)

        assert storing.counts.write_errors > 0
        assert await requests(opened) == 6000
    assert read(address, "SELECT count() FROM inference_events FINAL") == [(6000,)]


async def test_analytics_keeps_what_comes_in_clickhouse_and_answers_from_there(
    address: ClickHouseAddress, folder: Path
) -> None:
    config = Config(
        state_dir=folder,
        stores=("clickhouse",),
        clickhouse_url=address.url,
        clickhouse_password=address.password,
        keep_events_days=0,
        keep_usage_days=0,
    )
    analytics = build(config, registry=CollectorRegistry())
    async with serve(config, analytics):
        path = config.events_socket
        async with UnixSocketSink(path, server="ams-0", boot_epoch=1) as sink:
            for number in range(30):
                sink.emit(event(number))
            await sink.flush(10)

        (row,) = await analytics.usage.query(UsageQuery())
        page = await analytics.usage.recent(RecentQuery(limit=5))

    assert (row.requests, row.neurons) == (30, 45.0)
    assert [each.event.request_id for each in page.events] == [
        event(number).request_id for number in (29, 28, 27, 26, 25)
    ]
