"""Roll-ups of hours: each event counts once and in its hour, whenever it comes and leaves."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.events.values import InferenceEvent, LifecycleEvent
from libs.common.usage import RecentQuery, UsageGroup, UsageQuery, UsageRow
from services.analytics.ports import StoreError
from services.analytics.stores import duckdb_rollup
from services.analytics.stores.duckdb import DuckDBStore
from services.analytics.stores.duckdb_hours import DAY_MS, Keeping
from tests.analytics.support import HOUR_MS, event
from tests.contract.event_stores import FOR_EVER, of
from tests.short_dirs import short_dir

FIRST = 1_000 * HOUR_MS
LATER = FIRST + 20 * DAY_MS
BY_HOUR = UsageQuery(group_by=(UsageGroup.MODEL, UsageGroup.HOUR, UsageGroup.ERROR_CODE))
SOME_DAYS = Keeping(events_days=7, usage_days=100)


@pytest.fixture
def file(folder: Path) -> Path:
    return folder / "events.duckdb"


class Writer:
    """Writes events with sequences that go on."""

    def __init__(self, store: DuckDBStore) -> None:
        self._store = store
        self._next = 1

    async def __call__(self, *events: InferenceEvent | LifecycleEvent) -> None:
        await self._store.write([of(*events, first=self._next)])
        self._next += len(events)


async def look_after(store: DuckDBStore, now_ms: int = LATER) -> None:
    for _ in range(2):  # an hour that was written to since the last time is left for the next
        await store.upkeep(now_ms)


async def rows_of(store: DuckDBStore, query: UsageQuery = BY_HOUR) -> list[UsageRow]:
    return await store.usage(query, max_rows=10_000)


async def count(store: DuckDBStore, **query: Any) -> int:
    return sum(row.requests for row in await rows_of(store, UsageQuery(**query)))


async def kept(store: DuckDBStore) -> int:
    """How many events are there one by one."""
    return len(await store.recent(RecentQuery(limit=1_000)))


def tables(store: DuckDBStore, *names: str) -> list[int]:
    connection = store._connection
    assert connection is not None
    counts = [connection.execute(f"SELECT count(*) FROM {name}").fetchall() for name in names]
    return [number for ((number,),) in counts]


# --- generated stories ---


@dataclass(frozen=True)
class Told:
    """An attempt, and in which write it comes."""

    write: int
    event: InferenceEvent


@st.composite
def stories(draw: st.DrawFn) -> list[Told]:
    """Some requests in four hours, each with one to three attempts, in any of three writes."""
    told = []
    for number in range(draw(st.integers(1, 12))):
        begins = FIRST + draw(st.integers(0, 4 * HOUR_MS - 1))
        for attempt in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
            one = event(
                number,
                attempt=attempt,
                timestamp_ms=begins + attempt * draw(st.integers(0, HOUR_MS // 4)),
                model_id=draw(st.sampled_from(["a", "b"])),
                error_code=draw(st.sampled_from([0, 0, 3043])),
                neurons=1.0,
            )
            told.append(Told(draw(st.integers(0, 2)), one))
    return told


def expected(told: list[Told]) -> dict[tuple[str, int, int], int]:
    """Requests by model, hour and error code, counted in the plainest way."""
    attempts: dict[tuple[str, str], list[InferenceEvent]] = {}
    for each in told:
        attempts.setdefault((each.event.request_id, each.event.model_id), []).append(each.event)
    found: Counter[tuple[str, int, int]] = Counter()
    for (_, model), events in attempts.items():
        hour = min(each.timestamp_ms for each in events) // HOUR_MS * HOUR_MS
        last = max(events, key=lambda each: each.attempt)
        found[model, hour, last.error_code] += 1
    return dict(found)


async def tell(told: list[Told], keeping: Keeping, *, together: bool) -> None:
    with short_dir() as folder:
        async with DuckDBStore(folder / "e.duckdb", keeping=keeping) as store:
            write = Writer(store)
            so_far: list[Told] = []
            for number in range(3):
                new = [each for each in told if number == (0 if together else each.write)]
                if new:
                    await write(*(each.event for each in new))
                so_far += new
                for now in (FIRST + (2 + number) * HOUR_MS, LATER):
                    await look_after(store, now)
                    rows = await rows_of(store)
                    found = {(row.model, row.hour_ms, row.error_code): row.requests for row in rows}
                    assert found == expected(so_far)
                    assert sum(row.neurons for row in rows) == len(so_far)


@settings(max_examples=5, deadline=None)
@given(told=stories())
def test_whatever_comes_when_each_request_counts_once_in_its_hour(told: list[Told]) -> None:
    asyncio.run(tell(told, FOR_EVER, together=False))


@settings(max_examples=2, deadline=None)
@given(told=stories())
def test_usage_stays_as_it_is_when_the_events_leave(told: list[Told]) -> None:
    asyncio.run(tell(told, SOME_DAYS, together=True))


# --- single cases ---


async def test_an_hour_is_rolled_up_once_no_more_attempts_can_come(file: Path) -> None:
    async with DuckDBStore(file, keeping=FOR_EVER) as store:
        await Writer(store)(event(1, timestamp_ms=FIRST + 5))

        await look_after(store, FIRST + 2 * HOUR_MS - 1)
        before = tables(store, "usage_parts", "usage_open")
        await look_after(store, FIRST + 2 * HOUR_MS)

        assert (before, tables(store, "usage_parts", "usage_open")) == ([0, 1], [1, 0])


async def test_an_event_that_comes_days_later_counts_in_its_hour(file: Path) -> None:
    async with DuckDBStore(file, keeping=FOR_EVER) as store:
        write = Writer(store)
        await write(event(1, timestamp_ms=FIRST), event(2, timestamp_ms=FIRST + HOUR_MS))
        await look_after(store)

        await write(event(3, timestamp_ms=FIRST + 5))

        query = UsageQuery(group_by=(UsageGroup.HOUR,))
        for _ in range(3):  # at once, before it is rolled up, and after
            rows = await rows_of(store, query)
            assert [(row.hour_ms - FIRST, row.requests) for row in rows] == [(0, 2), (HOUR_MS, 1)]
            await store.upkeep(LATER)
        assert tables(store, "usage_parts", "usage_open", "usage_sums") == [2, 0, 2]


async def test_an_event_that_comes_after_the_others_of_its_hour_have_left_counts(
    file: Path,
) -> None:
    async with DuckDBStore(file, keeping=SOME_DAYS) as store:
        write = Writer(store)
        await write(event(1, timestamp_ms=FIRST))
        await look_after(store)
        assert await kept(store) == 0

        await write(event(2, timestamp_ms=FIRST + 5))

        assert await count(store) == 2
        await look_after(store)
        assert (await kept(store), await count(store)) == (0, 2)


async def test_an_attempt_that_comes_late_joins_its_request(file: Path) -> None:
    first = event(1, timestamp_ms=FIRST + HOUR_MS - 5, error_code=3043)
    second = event(1, timestamp_ms=FIRST + HOUR_MS + 5, attempt=1)
    async with DuckDBStore(file, keeping=FOR_EVER) as store:
        write = Writer(store)
        await write(first)
        await look_after(store)

        await write(second)

        for _ in range(3):
            (row,) = await rows_of(store, UsageQuery(group_by=(UsageGroup.HOUR,)))
            assert (row.hour_ms, row.requests, row.errors) == (FIRST, 1, 0)
            await store.upkeep(LATER)


async def test_an_hour_that_is_written_to_while_its_part_is_made_is_made_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_part = duckdb_rollup.make_part
    async with DuckDBStore(file, keeping=FOR_EVER) as store:
        write = Writer(store)
        await write(event(1, timestamp_ms=FIRST))
        loop = asyncio.get_running_loop()

        def late(connection: duckdb.DuckDBPyConnection, hour_ms: int) -> int:
            part = make_part(connection, hour_ms)
            asyncio.run_coroutine_threadsafe(write(event(2, timestamp_ms=FIRST)), loop).result(5)
            return part

        with monkeypatch.context() as patch:
            patch.setattr(duckdb_rollup, "make_part", late)
            await look_after(store)
        assert tables(store, "usage_parts") == [0]
        assert await count(store) == 2
        await look_after(store)

        assert tables(store, "usage_parts", "usage_sums") == [1, 1]
        assert await count(store) == 2


async def test_ranges_that_begin_within_an_hour_are_exact_while_its_events_are_there(
    file: Path,
) -> None:
    async with DuckDBStore(file, keeping=SOME_DAYS) as store:
        write = Writer(store)
        await write(*(event(n, timestamp_ms=FIRST + n * HOUR_MS // 4) for n in range(12)))
        await look_after(store, FIRST + DAY_MS)
        quarter = {"from_ms": FIRST + HOUR_MS // 4, "to_ms": FIRST + 2 * HOUR_MS + HOUR_MS // 4}

        assert await count(store, **quarter) == 8
        minutes = await rows_of(store, UsageQuery(group_by=(UsageGroup.MINUTE,), **quarter))
        assert len(minutes) == 8
        await look_after(store)

        assert await count(store, **quarter) == 8  # the second and the third hour, as a whole
        minutes = await rows_of(store, UsageQuery(group_by=(UsageGroup.MINUTE,), **quarter))
        assert [row.minute_ms - FIRST for row in minutes] == [HOUR_MS, 2 * HOUR_MS]


async def test_what_is_too_old_leaves_and_the_file_does_not_grow(file: Path) -> None:
    async with DuckDBStore(file, keeping=Keeping(events_days=1, usage_days=3)) as store:
        write = Writer(store)
        sizes = []
        for day in range(8):
            now = FIRST + day * DAY_MS
            for step in range(2):
                at = now + step * HOUR_MS
                await write(
                    *(
                        event(n, request_id=f"{day}-{step}-{n}", timestamp_ms=at + n)
                        for n in range(2_000)
                    )
                )
            await look_after(store, now + DAY_MS)
            sizes.append(file.stat().st_size)

        assert max(sizes[5:]) <= 1.2 * max(sizes[2:5])
        assert await kept(store) == 1_000  # the last day's, as many as are asked for
        assert await count(store) == 3 * 2 * 2_000
        assert tables(store, "inference_events", "usage_series") == [2 * 2_000, 1]


async def test_usage_that_is_kept_for_less_time_than_events_takes_them_along(file: Path) -> None:
    async with DuckDBStore(file, keeping=Keeping(events_days=0, usage_days=3)) as store:
        await Writer(store)(event(1, timestamp_ms=FIRST))
        await look_after(store)

        assert (await kept(store), await count(store)) == (0, 0)


async def test_endpoints_that_have_left_are_forgotten_and_present_ones_are_not(file: Path) -> None:
    gone = LifecycleEvent(begin_ts=FIRST, endpoint="gone")
    present = LifecycleEvent(begin_ts=FIRST, endpoint="present")
    late = LifecycleEvent(begin_ts=FIRST, endpoint="late")
    ends = [
        LifecycleEvent(begin_ts=FIRST, end_ts=FIRST + 5, endpoint="gone"),
        LifecycleEvent(begin_ts=FIRST, end_ts=LATER - 5, endpoint="late"),
    ]
    async with DuckDBStore(file, keeping=SOME_DAYS) as store:
        await Writer(store)(gone, present, late, *ends)

        await look_after(store)

        connection = store._connection
        assert connection is not None
        left = connection.execute("SELECT endpoint, end_ts FROM lifecycle_events ORDER BY ALL")
        assert left.fetchall() == [("late", 0), ("late", LATER - 5), ("present", 0)]


async def test_a_store_that_is_opened_again_goes_on(file: Path) -> None:
    async with DuckDBStore(file, keeping=FOR_EVER) as store:
        await Writer(store)(event(1, timestamp_ms=FIRST), event(2, timestamp_ms=FIRST + HOUR_MS))
        await look_after(store, FIRST + 2 * HOUR_MS)
    async with DuckDBStore(file, keeping=FOR_EVER) as store:
        await store.write([of(event(3, timestamp_ms=FIRST), first=3)])

        assert await count(store) == 3
        await look_after(store)
        assert await count(store) == 3
        assert tables(store, "usage_parts", "usage_sums", "usage_open") == [2, 2, 0]


async def test_a_part_that_is_made_when_the_store_dies_does_not_count(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise duckdb.IOException("No space left on device")

    async with DuckDBStore(file, keeping=FOR_EVER) as store:
        await Writer(store)(event(1, timestamp_ms=FIRST))
        with monkeypatch.context() as patch:
            patch.setattr(duckdb_rollup, "count_part", die)
            with pytest.raises(StoreError, match="No space left"):
                await look_after(store)
    async with DuckDBStore(file, keeping=FOR_EVER) as store:
        assert tables(store, "usage_sums", "usage_parts") == [1, 0]
        assert await count(store) == 1

        await look_after(store)

        assert tables(store, "usage_sums", "usage_parts") == [1, 1]
        assert await count(store) == 1


async def test_it_looks_after_itself(file: Path) -> None:
    async with DuckDBStore(file, keeping=Keeping(every_s=0.05)) as store:
        await Writer(store)(event(1, timestamp_ms=FIRST))

        async with asyncio.timeout(10):
            while await kept(store):
                await asyncio.sleep(0.02)


async def test_percentiles_of_rolled_up_hours_are_near_the_true_ones(file: Path) -> None:
    times = [0.5 * 1.01**n for n in range(1_000)]
    events = [
        event(n, timestamp_ms=FIRST + n % 3 * HOUR_MS, request_time_ms=ms)
        for n, ms in enumerate(times)
    ]
    async with DuckDBStore(file, keeping=FOR_EVER) as store:
        await Writer(store)(*events)
        await look_after(store)

        (row,) = await rows_of(store, UsageQuery())

    for found, share in ((row.p50_ms, 0.5), (row.p95_ms, 0.95), (row.p99_ms, 0.99)):
        assert found == pytest.approx(times[int(share * 1_000) - 1], rel=0.022)


@pytest.mark.parametrize("strange", [0.0, 1e300, float("inf"), -5.0])
async def test_strange_times_are_counted_all_the_same(file: Path, strange: float) -> None:
    async with DuckDBStore(file, keeping=FOR_EVER) as store:
        await Writer(store)(event(1, request_time_ms=strange, time_to_first_token=strange))
        await look_after(store)

        assert await count(store) == 1
