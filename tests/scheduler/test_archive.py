"""What outlives the scheduler, in a SQLite file and in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from libs.common.clock import ManualClock
from libs.common.databases import sqlite_url
from libs.common.errors import Unavailable
from libs.common.explanation import Question
from libs.common.world_map import Decision
from services.scheduler.ports import Kept
from services.scheduler.stores.sql import DAY_MS, Retention, SqlArchive
from services.scheduler.usage import Key

EU, US = Key("m", "eu"), Key("m", "us")
RICH = Decision(
    model="m",
    region="eu",
    at_ms=5,
    demand=1.5,
    forecast=2.5,
    running=1,
    required=2,
    desired=2,
    reason="why",
    probabilities=(0.5, 0.99),
    quantiles=(1.0, 2.5),
    weights={"ridge": 0.7},
)


def decision(at_ms: int, region: str = "eu", model: str = "m") -> Decision:
    return Decision(
        model=model,
        region=region,
        at_ms=at_ms,
        demand=1.0,
        forecast=1.0,
        running=1,
        required=1,
        desired=1,
    )


@asynccontextmanager
async def archive(
    url: str, clock: ManualClock | None = None, **retention: float
) -> AsyncIterator[SqlArchive]:
    made = SqlArchive(
        url,
        clock=clock or ManualClock(),
        retention=Retention(**retention),  # type: ignore[arg-type]
    )
    try:
        yield made
    finally:
        await made.close()


async def test_series_and_decisions_survive_a_restart(database_url: str) -> None:
    async with archive(database_url) as first:
        assert await first.load() == {}
        await first.save({EU: Kept(b"old", 1.0), US: Kept(b"us", 0.0)})
        await first.save({EU: Kept(b"new", 2.0)})
        await first.add([RICH])

    async with archive(database_url) as second:
        assert await second.load() == {EU: Kept(b"new", 2.0), US: Kept(b"us", 0.0)}
        assert await second.find(Question(model="m")) == (RICH,)


async def test_decisions_are_found_by_region_and_time_the_newest_first(database_url: str) -> None:
    async with archive(database_url) as log:
        await log.add([decision(at) for at in (10, 20, 30)])
        await log.add([decision(15, "us"), decision(40, model="other")])

        async def found(**asked: object) -> list[tuple[str, int]]:
            question = Question(model="m", **asked)  # type: ignore[arg-type]
            return [(each.region, each.at_ms) for each in await log.find(question)]

        assert await found() == [("eu", 30), ("us", 15)]
        assert await found(at_ms=20) == [("eu", 20), ("us", 15)]
        assert await found(at_ms=14) == [("eu", 10)]
        assert await found(region="eu", count=2) == [("eu", 30), ("eu", 20)]
        assert await found(region="nowhere") == []


async def test_the_oldest_decisions_go(database_url: str) -> None:
    clock = ManualClock(30 * 86_400.0)
    now = clock.unix_ms()
    async with archive(database_url, clock, decision_days=2, most_decisions=3) as log:
        await log.add([decision(now - 3 * DAY_MS)])
        assert await log.find(Question(model="m")) == ()
        await log.add([decision(now + number) for number in range(5)])
        assert len(await log.find(Question(model="m", count=100))) == 5

        clock.advance(3_601)
        await log.add([decision(now + 5)])
        kept = [each.at_ms - now for each in await log.find(Question(model="m", count=100))]

    assert kept == [5, 4, 3]


async def test_series_of_models_that_are_long_gone_go(database_url: str) -> None:
    clock = ManualClock()
    async with archive(database_url, clock, series_days=2) as kept:
        await kept.save({EU: Kept(b"eu", 1.0)})
        clock.advance(86_400)
        await kept.save({US: Kept(b"us", 1.0)})
        clock.advance(86_400 + 1)

        assert set(await kept.load()) == {US}


async def test_a_store_that_is_not_to_be_had_is_unavailable(tmp_path: Path) -> None:
    async with archive(sqlite_url(tmp_path / "nowhere" / "scheduler.db")) as missing:
        with pytest.raises(Unavailable, match="the scheduler's store is not available: unable to"):
            await missing.load()
        with pytest.raises(Unavailable):
            await missing.add([RICH])
