"""The roll-up by the hour: it answers what the events answer, whatever happens to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from libs.common.envelope import RequestSource
from libs.common.events.values import Batch, InferenceEvent
from libs.common.usage import UsageGroup, UsageQuery, UsageRow
from services.analytics.ports import StoreError
from services.analytics.stores import clickhouse_rollup
from services.analytics.stores.clickhouse import ClickHouseStore
from services.analytics.stores.clickhouse_client import ClickHouseAddress
from services.analytics.stores.clickhouse_hours import HOUR_MS
from services.analytics.stores.clickhouse_rollup import RollUp
from services.analytics.stores.duckdb import DuckDBStore
from services.analytics.stores.duckdb_hours import Keeping
from tests.analytics.support import event
from tests.clickhouse.running import RunningClickHouse

pytestmark = pytest.mark.xdist_group("clickhouse")

FIRST = 1_000 * HOUR_MS
# Nothing is late that was stored before a pass began; and a slice has a few requests.
AT_ONCE = RollUp(every_seconds=0, settled_ms=0, slice_events=200, hours_a_pass=2)
FOR_EVER = Keeping(events_days=0, usage_days=0)
BY_ALL = tuple(UsageGroup)


@pytest.fixture
def address(clickhouse: RunningClickHouse) -> Iterator[ClickHouseAddress]:
    with clickhouse.database() as address:
        yield address


def store(address: ClickHouseAddress, policy: RollUp = AT_ONCE) -> ClickHouseStore:
    return ClickHouseStore(address, roll_up=policy)


def of(events: list[InferenceEvent], *, first: int = 1) -> list[Batch]:
    return [Batch(server="ams-0", boot_epoch=1, first_sequence=first, events=tuple(events))]


def request(number: int, dice: random.Random) -> list[InferenceEvent]:
    """One to three attempts, some of them elsewhere, some of them in the next hour."""
    arrived = FIRST + dice.randrange(3 * HOUR_MS)
    account, source = dice.choice("ab"), dice.choice(list(RequestSource))
    model, finetune = dice.choice("mn"), dice.choice(("", "", "f"))
    attempts = dice.choice((1, 1, 1, 2, 3))
    return [
        event(
            number,
            account_id=account,
            request_id="" if attempts == 1 and number % 7 == 0 else f"r{number}",
            model_id=dice.choice((model, model, "fallback")),
            finetune=finetune,
            request_source=source,
            colo_id=dice.choice(("ams", "ams", "lhr")),
            attempt=attempt,
            timestamp_ms=arrived + attempt * dice.randrange(HOUR_MS // 3),
            error_code=dice.choice((0, 3040)) if attempt == attempts - 1 else 3043,
            request_time_ms=dice.uniform(1, 1000),
            time_to_first_token=dice.choice((0.0, 5.0, 70.0)),
            queue_us=dice.randrange(10_000),
            neurons=dice.randrange(100) / 8,
        )
        for attempt in range(attempts)
    ]


def traffic(requests: int, seed: int = 1) -> list[InferenceEvent]:
    dice = random.Random(seed)
    events = [each for number in range(requests) for each in request(number, dice)]
    dice.shuffle(events)
    return events


QUESTIONS = [
    UsageQuery(group_by=groups) for groups in (BY_ALL[:1], (UsageGroup.SOURCE, UsageGroup.COLO))
] + [
    UsageQuery(group_by=tuple(each for each in BY_ALL if each is not UsageGroup.MINUTE)),
    UsageQuery(account="a", group_by=(UsageGroup.HOUR, UsageGroup.FINETUNE)),
    UsageQuery(model="fallback", group_by=(UsageGroup.ACCOUNT, UsageGroup.ERROR_CODE)),
    UsageQuery(error_code=3040, colo="lhr", source="rest", group_by=(UsageGroup.HOUR,)),
    UsageQuery(from_ms=FIRST + HOUR_MS, to_ms=FIRST + 3 * HOUR_MS),
    UsageQuery(from_ms=FIRST + HOUR_MS // 3, to_ms=FIRST + 2 * HOUR_MS + 77, group_by=BY_ALL[6:]),
    UsageQuery(group_by=(UsageGroup.MINUTE,)),
]


# Those that need no event once all is rolled up.
OF_HOURS = QUESTIONS[:-2]
SOME = QUESTIONS[:3]


async def answers(store: Any, questions: Sequence[UsageQuery] = QUESTIONS) -> list[list[UsageRow]]:
    return [await store.usage(question, max_rows=10_000) for question in questions]


def same(answer: Sequence[Sequence[UsageRow]]) -> list[list[UsageRow]]:
    """The same numbers, though they may have been added up in another order."""
    sums = ("neurons", "mean_queue_ms")
    return [
        [replace(row, **{name: pytest.approx(getattr(row, name)) for name in sums}) for row in rows]
        for rows in answer
    ]


def counted(answer: Sequence[Sequence[UsageRow]]) -> list[list[UsageRow]]:
    """Without percentiles, which stores find differently where requests are few."""
    percentiles = [name for name in UsageRow.__struct_fields__ if "p5" in name or "p9" in name]
    return [[replace(row, **dict.fromkeys(percentiles, 0)) for row in rows] for rows in answer]


async def duckdb_answers(folder: Path, *writes: list[Batch]) -> list[list[UsageRow]]:
    async with DuckDBStore(folder / "events.duckdb", keeping=FOR_EVER) as duckdb:
        for write in writes:
            await duckdb.write(write)
        return await answers(duckdb)


def do(address: ClickHouseAddress, statement: str) -> Any:
    client = address.connect(seconds=10, create=True)
    try:
        return client.command(statement)
    finally:
        client.close()


async def test_it_answers_what_the_events_and_duckdb_answer_and_so_what_is_stored_late(
    address: ClickHouseAddress, folder: Path
) -> None:
    events = traffic(150)
    early, late = of(events[:180]), of(events[180:], first=181)
    async with store(address) as opened:
        await opened.write(early)
        await opened.roll_up_now()
        async with store(address) as another:
            await another.write(early)  # which it does not know
        await opened.write(late)
        from_both = await answers(opened)

        await opened.roll_up_now()
        do(address, "TRUNCATE TABLE inference_events")
        from_hours = await answers(opened, OF_HOURS)

    assert counted(from_both) == same(counted(await duckdb_answers(folder, early, late)))
    assert from_hours == same(from_both[: len(OF_HOURS)])


async def test_a_pass_that_breaks_off_leaves_nothing_that_counts(
    address: ClickHouseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store(address) as opened:
        await opened.write(of(traffic(100)))
        from_events = await answers(opened, SOME)
        with monkeypatch.context() as patch:
            patch.setattr(clickhouse_rollup, "SPLIT", "INSERT INTO nowhere SELECT 1")
            with pytest.raises(StoreError, match="nowhere"):
                await opened.roll_up_now()
        assert int(do(address, "SELECT count() FROM usage_hourly")) > 0
        broken_off = await answers(opened, SOME)

        await opened.roll_up_now()

        assert broken_off == same(from_events)
        assert await answers(opened, SOME) == same(from_events)


async def test_passes_of_two_at_once_do_no_harm(address: ClickHouseAddress) -> None:
    async with store(address) as one, store(address) as other:
        await one.write(of(traffic(100)))
        from_events = await answers(one, SOME)

        await asyncio.gather(one.roll_up_now(), other.roll_up_now())

        assert await answers(one, SOME) == same(from_events)


async def test_hours_are_rolled_up_while_it_is_open(address: ClickHouseAddress) -> None:
    policy = RollUp(every_seconds=0.2, settled_ms=0)
    async with store(address) as quiet:
        await quiet.write(of(traffic(20)))
    passed = f"SELECT count() FROM usage_passes WHERE through_ms > {FIRST + 4 * HOUR_MS}"
    async with asyncio.timeout(20), store(address, policy):
        while not int(do(address, passed)):
            await asyncio.sleep(0.1)


async def test_an_hour_that_may_still_get_events_is_not_rolled_up(
    address: ClickHouseAddress,
) -> None:
    now = int(do(address, "SELECT toUnixTimestamp(now()) * 1000"))
    events = [event(n, timestamp_ms=now - n * HOUR_MS) for n in range(6)]
    async with store(address) as opened:
        await opened.write(of(events))
        await opened.roll_up_now()

    rolled = int(do(address, "SELECT uniqExact(hour_ms) FROM usage_hours"))
    assert 3 <= rolled <= 4  # of six; the last one to two hours are open
