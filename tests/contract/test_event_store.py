"""What every EventStore and UsageStore does, whatever engine is behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from msgspec.structs import replace

from libs.common.envelope import RequestSource
from libs.common.events.values import Batch, InferenceEvent, LifecycleEvent
from libs.common.usage import UsageGroup, UsageQuery, UsageRow
from services.analytics.stores.duckdb import DuckDBStore
from tests.analytics.support import HOUR_MS, MODEL, batch, event
from tests.short_dirs import short_dir

Open: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]
FIRST = 1_000 * HOUR_MS


@pytest.fixture(params=["duckdb"])
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Opens the store, each time the same one."""
    with short_dir() as folder:
        openers: dict[str, Callable[[Path], Any]] = {
            "duckdb": lambda folder: DuckDBStore(folder / "events.duckdb")
        }
        yield lambda: openers[request.param](folder)


async def requests(store: Any) -> int:
    rows = await store.usage(UsageQuery(), max_rows=10)
    return sum(row.requests for row in rows)


def of(*events: InferenceEvent | LifecycleEvent | None, first: int = 1) -> Batch:
    return Batch(server="ams-0", boot_epoch=1, first_sequence=first, events=events)


async def test_what_is_written_is_there(opened: Open) -> None:
    async with opened() as store:
        await store.write([batch(1, 3), batch(4, 2)])

        assert await requests(store) == 5


async def test_it_is_there_after_opening_again(opened: Open) -> None:
    async with opened() as store:
        await store.write([batch(1, 3)])
    async with opened() as store:
        await store.write([batch(1, 4)])

        assert await requests(store) == 4


@pytest.mark.parametrize(
    ("writes", "kept"),
    [
        pytest.param([[batch(1, 3)], [batch(1, 3)]], 3, id="again"),
        pytest.param([[batch(1, 3), batch(1, 3)]], 3, id="again in one write"),
        pytest.param([[batch(1, 3)], [batch(2, 4)]], 5, id="an overlap"),
        pytest.param([[batch(1, 3), batch(4, 3)], [batch(1, 3), batch(7, 1)]], 7, id="from before"),
        pytest.param([[batch(1, 2)], [batch(1, 2, boot_epoch=2)]], 4, id="another boot"),
        pytest.param([[batch(1, 2)], [batch(1, 2, server="lhr-0")]], 4, id="another server"),
        pytest.param([[batch(5, 2)]], 2, id="a first batch that is not the first"),
        pytest.param([[]], 0, id="nothing"),
    ],
)
async def test_each_identity_is_kept_once(
    opened: Open, writes: list[list[Batch]], kept: int
) -> None:
    async with opened() as store:
        for number, batches in enumerate(writes):
            # request ids of their own, so that repeated rows would be counted
            await store.write(
                [
                    replace(
                        batch,
                        events=tuple(
                            replace(each, request_id=f"{number}-{at}-{each.request_id}")
                            for each in batch.events
                            if isinstance(each, InferenceEvent)
                        ),
                    )
                    for at, batch in enumerate(batches)
                ]
            )

        assert await requests(store) == kept


async def test_lifecycle_events_and_unknown_ones_go_along(opened: Open) -> None:
    async with opened() as store:
        await store.write([of(event(1), LifecycleEvent(begin_ts=5), None, event(4))])
        await store.write([of(None, first=5)])
        await store.write([of(event(5), event(6), first=5)])

        assert await requests(store) == 3


async def test_strange_values_are_kept(opened: Open) -> None:
    strange = event(
        account_id="a\0b\U0001f600",
        tokens_in=2**64 - 1,
        tokens_out=2**64 - 1,
        neurons=1.7e308,
        visited_colos=("ams", "lhr"),
        request_source=99,
    )
    async with opened() as store:
        await store.write([of(strange, replace(strange, request_id="another", visited_colos=()))])

        (row,) = await store.usage(UsageQuery(account="a\0b\U0001f600"), max_rows=10)
        assert row.requests == 2
        assert row.tokens_in == 2**64 - 1


async def test_usage_by_model(opened: Open) -> None:
    async with opened() as store:
        await store.write(
            [
                of(
                    *(event(number, request_time_ms=float(number)) for number in range(1, 101)),
                    event(200, model_id="@cf/demo/other", error_code=3040, neurons=0.0),
                )
            ]
        )

        rows = await store.usage(UsageQuery(), max_rows=10)

    assert [row.model for row in rows] == ["@cf/demo/other", MODEL]
    assert (rows[0].requests, rows[0].errors, rows[0].p50_ms) == (1, 1, 10.0)
    assert rows[1] == UsageRow(
        model=MODEL,
        requests=100,
        neurons=150.0,
        tokens_in=300,
        tokens_out=700,
        p50_ms=pytest.approx(50.5),
        p95_ms=pytest.approx(95.05),
        p99_ms=pytest.approx(99.01),
    )


async def test_the_attempts_of_a_request_are_one_request(opened: Open) -> None:
    lost = event(1, attempt=0, error_code=3043, request_time_ms=30.0, neurons=0.5, tokens_out=2)
    served = event(1, attempt=1, request_time_ms=70.0, neurons=1.0, tokens_out=5)
    failed = [event(2, attempt=n, error_code=code) for n, code in ((1, 3043), (0, 0))]
    async with opened() as store:
        await store.write([of(served, lost, *failed)])

        (row,) = await store.usage(UsageQuery(), max_rows=10)

    assert (row.requests, row.errors) == (2, 1)
    assert (row.neurons, row.tokens_out) == (4.5, 21)
    assert row.p99_ms == pytest.approx(20 + 0.99 * 80)  # 100 ms and 20 ms


async def test_a_request_on_two_models_counts_once_in_each_and_once_in_all(opened: Open) -> None:
    first = event(1, model_id="a", attempt=0, error_code=3040, neurons=0.0)
    second = event(1, model_id="b", attempt=1, neurons=2.0)
    async with opened() as store:
        await store.write([of(first, second)])

        by_model = await store.usage(UsageQuery(), max_rows=10)
        by_source = await store.usage(UsageQuery(group_by=(UsageGroup.SOURCE,)), max_rows=10)

    assert [(row.model, row.requests, row.errors, row.neurons) for row in by_model] == [
        ("a", 1, 1, 0.0),
        ("b", 1, 0, 2.0),
    ]
    assert [(row.source, row.requests, row.errors) for row in by_source] == [("rest", 1, 0)]


async def test_events_without_a_request_id_are_requests_of_their_own(opened: Open) -> None:
    async with opened() as store:
        await store.write([of(event(1, request_id=""), event(2, request_id=""))])

        assert await requests(store) == 2


async def test_the_same_request_id_of_two_accounts_is_two_requests(opened: Open) -> None:
    async with opened() as store:
        await store.write([of(event(1, account_id="a"), event(1, account_id="b"))])

        assert await requests(store) == 2


MANY = of(
    event(1, timestamp_ms=FIRST, finetune="f", request_source=RequestSource.PAGES_BINDING),
    event(2, timestamp_ms=FIRST + HOUR_MS - 1),
    event(3, timestamp_ms=FIRST + HOUR_MS),
    # its second attempt comes in the next hour
    event(4, timestamp_ms=FIRST + HOUR_MS - 1, error_code=3043),
    event(4, timestamp_ms=FIRST + HOUR_MS + 5, attempt=1),
    event(5, timestamp_ms=FIRST, account_id="other", request_source=RequestSource.WORKER_BINDING),
)


@pytest.mark.parametrize(
    ("groups", "rows"),
    [
        pytest.param(
            (UsageGroup.HOUR,),
            [{"hour_ms": FIRST, "requests": 4}, {"hour_ms": FIRST + HOUR_MS, "requests": 1}],
            id="hour",
        ),
        pytest.param(
            (UsageGroup.FINETUNE,),
            [{"finetune": "", "requests": 4}, {"finetune": "f", "requests": 1}],
            id="finetune",
        ),
        pytest.param(
            (UsageGroup.SOURCE,),
            [
                {"source": "pages_binding", "requests": 1},
                {"source": "rest", "requests": 3},
                {"source": "worker_binding", "requests": 1},
            ],
            id="source",
        ),
        pytest.param(
            (UsageGroup.SOURCE, UsageGroup.HOUR, UsageGroup.MODEL),
            [
                {"source": "pages_binding", "hour_ms": FIRST, "model": MODEL, "requests": 1},
                {"source": "rest", "hour_ms": FIRST, "model": MODEL, "requests": 2},
                {"source": "rest", "hour_ms": FIRST + HOUR_MS, "model": MODEL, "requests": 1},
                {"source": "worker_binding", "hour_ms": FIRST, "model": MODEL, "requests": 1},
            ],
            id="several",
        ),
    ],
)
async def test_usage_by_group(
    opened: Open, groups: tuple[UsageGroup, ...], rows: list[dict[str, Any]]
) -> None:
    async with opened() as store:
        await store.write([MANY])

        found = await store.usage(UsageQuery(group_by=groups), max_rows=10)

    assert [{name: getattr(row, name) for name in rows[0]} for row in found] == rows


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        pytest.param(UsageQuery(account="other"), 1, id="account"),
        pytest.param(UsageQuery(account="nobody"), 0, id="unknown account"),
        pytest.param(UsageQuery(account="' OR true --"), 0, id="SQL for an account"),
        pytest.param(UsageQuery(model=MODEL), 5, id="model"),
        pytest.param(UsageQuery(model="m"), 0, id="unknown model"),
        pytest.param(UsageQuery(from_ms=FIRST + HOUR_MS), 1, id="from, with a late attempt"),
        pytest.param(UsageQuery(to_ms=FIRST + HOUR_MS), 4, id="to"),
        pytest.param(UsageQuery(from_ms=FIRST, to_ms=FIRST + 1), 2, id="a moment"),
        pytest.param(UsageQuery(to_ms=2**64 - 1), 5, id="to the end of time"),
    ],
)
async def test_usage_of_some(opened: Open, query: UsageQuery, kept: int) -> None:
    async with opened() as store:
        await store.write([MANY])

        assert sum(row.requests for row in await store.usage(query, max_rows=10)) == kept


async def test_usage_has_at_most_so_many_rows(opened: Open) -> None:
    async with opened() as store:
        await store.write([of(*(event(number, model_id=f"m{number}") for number in range(9)))])

        assert len(await store.usage(UsageQuery(), max_rows=4)) == 4
