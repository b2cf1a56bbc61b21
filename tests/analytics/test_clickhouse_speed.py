"""A million events in ClickHouse: how fast they come in, and how fast usage is told.

.venv/bin/pytest -n 0 -m long tests/analytics/test_clickhouse_speed.py
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libs.common.events.values import Batch, InferenceEvent
from libs.common.usage import RecentQuery, UsageGroup, UsageQuery
from services.analytics.stores.clickhouse import ClickHouseStore
from services.analytics.stores.clickhouse_hours import DAY_MS, HOUR_MS
from services.analytics.stores.clickhouse_rollup import RollUp
from services.analytics.stores.clickhouse_rows import table
from services.analytics.stores.columns import fresh
from tests.analytics.support import event
from tests.clickhouse.running import running

pytestmark = [pytest.mark.long, pytest.mark.timeout(900), pytest.mark.xdist_group("clickhouse")]

EVENTS, WRITE, DAYS = 1_000_000, 5_000, 90
FIRST = 20_000 * DAY_MS
BY_MODEL_AND_HOUR = (UsageGroup.MODEL, UsageGroup.HOUR)


def at_random(number: int, dice: random.Random, *, days: int) -> InferenceEvent:
    arrived = FIRST + number * days * DAY_MS // EVENTS
    retried = number % 50 == 0
    return event(
        number // 2 if retried else number,
        account_id=f"account-{int(dice.paretovariate(1)) % 500}",
        model_id=f"@cf/demo/model-{dice.randrange(20)}",
        timestamp_ms=arrived,
        attempt=int(retried),
        colo_id=dice.choice(("ams", "lhr", "fra")),
        endpoint=f"10.0.0.{dice.randrange(50)}:8001",
        error_code=dice.choice((0,) * 20 + (3040,)),
        request_time_ms=dice.lognormvariate(5, 1),
        time_to_first_token=dice.lognormvariate(3, 1),
        queue_us=dice.randrange(10_000),
    )


def batches(days: int) -> list[Batch]:
    dice = random.Random(1)
    events = [at_random(number, dice, days=days) for number in range(EVENTS)]
    return [
        Batch(
            server=f"ams-{first // WRITE % 4}",
            boot_epoch=1,
            first_sequence=first + 1,
            events=tuple(events[first : first + WRITE]),
        )
        for first in range(0, EVENTS, WRITE)
    ]


async def told(what: str, ask: Any, tell: Callable[[str, object], None], times: int = 5) -> None:
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        rows = await ask()
        seconds.append(time.perf_counter() - started)
    seconds.sort()
    tell("fault", f"ClickHouse, {what}: {seconds[times // 2] * 1000:.0f} ms, {len(rows)} rows")


@pytest.mark.parametrize("days", [1, DAYS])
async def test_a_million_events(
    days: int, folder: Path, record_property: Callable[[str, object], None]
) -> None:
    writes = batches(days)
    started = time.process_time()
    for write in writes[:20]:
        assert table("inference_events", fresh([write], {}).columns()[0]).columns
    columns = (time.process_time() - started) / 20 / WRITE
    with running(folder / "data") as clickhouse:
        policy = RollUp(every_seconds=0, settled_ms=0)
        async with ClickHouseStore(
            clickhouse.address("events"), roll_up=policy, query_seconds=120
        ) as store:
            started, used = time.perf_counter(), time.process_time()
            for write in writes:
                await store.write([write])
            took, used = time.perf_counter() - started, time.process_time() - used
            record_property(
                "fault",
                f"ClickHouse, {EVENTS} events of {days} days in writes of {WRITE}:"
                f" {EVENTS / took:.0f} events/s; {used / EVENTS * 1e6:.1f} us of our CPU each,"
                f" {columns * 1e6:.1f} us of that for columns",
            )
            by_hour = UsageQuery(group_by=BY_MODEL_AND_HOUR)
            by_model = UsageQuery(group_by=(UsageGroup.MODEL,))
            of_one = UsageQuery(account="account-3", from_ms=FIRST + days * DAY_MS - 24 * HOUR_MS)
            questions = {
                f"usage by model and hour of {days} days": by_hour,
                f"usage by model of {days} days": by_model,
                "usage of an account's last day": of_one,
            }
            for what, query in questions.items():
                await told(
                    f"{what}, from events",
                    lambda query=query: store.usage(query, max_rows=100_000),
                    record_property,
                )
            recent = RecentQuery(account="account-3", limit=50)
            await told("an account's last 50", lambda: store.recent(recent), record_property)

            started = time.perf_counter()
            await store.roll_up_now()
            record_property(
                "fault", f"ClickHouse, roll-up of all: {time.perf_counter() - started:.1f} s"
            )
            for what, query in questions.items():
                await told(
                    f"{what}, rolled up",
                    lambda query=query: store.usage(query, max_rows=100_000),
                    record_property,
                )
            rows = await store.usage(by_model, max_rows=100)
            assert sum(row.neurons for row in rows) == 1.5 * EVENTS
