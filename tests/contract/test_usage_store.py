"""What every UsageStore says of the events that it keeps, whatever engine is behind it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from libs.common.envelope import RequestSource
from libs.common.events.values import LifecycleEvent
from libs.common.usage import (
    Position,
    RecentQuery,
    RecordedEvent,
    UsageGroup,
    UsageQuery,
    UsageRow,
)
from tests.analytics.support import HOUR_MS, MODEL, event
from tests.contract.event_stores import Open, of, requests

FIRST = 1_000 * HOUR_MS


def near(value: float) -> Any:
    """As near as percentiles have to be: stores keep counts of ranges, not values."""
    return pytest.approx(value, rel=0.03)


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
    assert (rows[0].requests, rows[0].errors, rows[0].p50_ms) == (1, 1, near(10.0))
    assert rows[1] == UsageRow(
        model=MODEL,
        requests=100,
        neurons=150.0,
        tokens_in=300,
        tokens_out=700,
        p50_ms=near(50.5),
        p95_ms=near(95.05),
        p99_ms=near(99.01),
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
    assert row.p99_ms == near(100.0)  # of 100 ms and 20 ms


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


async def test_time_to_first_token_is_that_of_requests_that_had_one(opened: Open) -> None:
    answers = [
        event(number, time_to_first_token=float(number), queue_us=4_000) for number in range(1, 101)
    ]
    silent = [event(number, time_to_first_token=0.0) for number in range(101, 201)]
    async with opened() as store:
        await store.write([of(*answers, *silent, event(300, model_id="none"))])

        row, none = await store.usage(UsageQuery(), max_rows=10)

    assert row.first_token_p50_ms == near(50.5)
    assert row.first_token_p95_ms == near(95.05)
    assert row.first_token_p99_ms == near(99.01)
    assert row.mean_queue_ms == pytest.approx(2.0)
    assert (none.first_token_p50_ms, none.first_token_p99_ms, none.mean_queue_ms) == (0, 0, 0)


async def test_a_requests_first_token_is_that_of_its_first_attempt_with_one(opened: Open) -> None:
    attempts = [
        event(1, attempt=0, error_code=3043, time_to_first_token=0.0, queue_us=1_000),
        event(1, attempt=1, error_code=3045, time_to_first_token=20.0, queue_us=2_000),
        event(1, attempt=2, time_to_first_token=5.0),
    ]
    async with opened() as store:
        await store.write([of(*attempts)])

        (row,) = await store.usage(UsageQuery(), max_rows=10)

    assert (row.first_token_p50_ms, row.mean_queue_ms) == (near(20.0), pytest.approx(3.0))


async def test_the_error_code_of_a_request_is_that_of_its_last_attempt(opened: Open) -> None:
    async with opened() as store:
        await store.write(
            [
                of(
                    event(1, attempt=0, error_code=3043),
                    event(1, attempt=1),
                    event(2, attempt=0, error_code=3043),
                    event(2, attempt=1, error_code=3040),
                    event(3, error_code=3040),
                )
            ]
        )

        rows = await store.usage(UsageQuery(group_by=(UsageGroup.ERROR_CODE,)), max_rows=10)
        kept = await store.usage(UsageQuery(error_code=3043), max_rows=10)

    assert [(row.error_code, row.requests, row.errors) for row in rows] == [(0, 1, 0), (3040, 2, 2)]
    assert kept == []


async def test_what_a_row_tells_apart_does_not_change_the_totals(opened: Open) -> None:
    async with opened() as store:
        await store.write([MANY])

        for group in UsageGroup:
            rows = await store.usage(UsageQuery(group_by=(group,)), max_rows=10)
            assert sum(row.requests for row in rows) == 5 + (group is UsageGroup.COLO), group
            assert sum(row.neurons for row in rows) == pytest.approx(6 * 1.5)


MANY = of(
    event(1, timestamp_ms=FIRST, finetune="f", request_source=RequestSource.PAGES_BINDING),
    event(2, timestamp_ms=FIRST + HOUR_MS - 1, colo_id="ams"),
    event(3, timestamp_ms=FIRST + HOUR_MS),
    # its second attempt comes in the next hour
    event(4, timestamp_ms=FIRST + HOUR_MS - 1, error_code=3043, colo_id="ams"),
    event(4, timestamp_ms=FIRST + HOUR_MS + 5, attempt=1, colo_id="lhr"),
    event(5, timestamp_ms=FIRST, account_id="other", request_source=RequestSource.WORKER_BINDING),
)


GROUPED: dict[str, tuple[tuple[UsageGroup, ...], list[dict[str, Any]]]] = {
    "hour": (
        (UsageGroup.HOUR,),
        [{"hour_ms": FIRST, "requests": 4}, {"hour_ms": FIRST + HOUR_MS, "requests": 1}],
    ),
    "finetune": (
        (UsageGroup.FINETUNE,),
        [{"finetune": "", "requests": 4}, {"finetune": "f", "requests": 1}],
    ),
    "source": (
        (UsageGroup.SOURCE,),
        [
            {"source": "pages_binding", "requests": 1},
            {"source": "rest", "requests": 3},
            {"source": "worker_binding", "requests": 1},
        ],
    ),
    "minute": (
        (UsageGroup.MINUTE,),
        [
            {"minute_ms": FIRST, "requests": 2},
            {"minute_ms": FIRST + 59 * 60_000, "requests": 2},
            {"minute_ms": FIRST + HOUR_MS, "requests": 1},
        ],
    ),
    "colo": (
        (UsageGroup.COLO,),
        [
            {"colo": "", "requests": 3, "errors": 0},
            {"colo": "ams", "requests": 2, "errors": 1},
            {"colo": "lhr", "requests": 1, "errors": 0},
        ],
    ),
    "account and error code": (
        (UsageGroup.ACCOUNT, UsageGroup.ERROR_CODE),
        [
            {"account": "a" * 32, "error_code": 0, "requests": 4},
            {"account": "other", "error_code": 0, "requests": 1},
        ],
    ),
    "several": (
        (UsageGroup.SOURCE, UsageGroup.HOUR, UsageGroup.MODEL),
        [
            {"source": "pages_binding", "hour_ms": FIRST, "model": MODEL, "requests": 1},
            {"source": "rest", "hour_ms": FIRST, "model": MODEL, "requests": 2},
            {"source": "rest", "hour_ms": FIRST + HOUR_MS, "model": MODEL, "requests": 1},
            {"source": "worker_binding", "hour_ms": FIRST, "model": MODEL, "requests": 1},
        ],
    ),
}


async def test_usage_by_group(opened: Open) -> None:
    async with opened() as store:
        await store.write([MANY])

        for case, (groups, rows) in GROUPED.items():
            found = await store.usage(UsageQuery(group_by=groups), max_rows=10)
            told = [{name: getattr(row, name) for name in rows[0]} for row in found]
            assert told == rows, case


SOME: dict[str, tuple[UsageQuery, int]] = {
    "account": (UsageQuery(account="other"), 1),
    "unknown account": (UsageQuery(account="nobody"), 0),
    "SQL for an account": (UsageQuery(account="' OR true --"), 0),
    "model": (UsageQuery(model=MODEL), 5),
    "unknown model": (UsageQuery(model="m"), 0),
    "finetune": (UsageQuery(finetune="f"), 1),
    "source": (UsageQuery(source="pages_binding"), 1),
    "source and account": (UsageQuery(source="rest", account="other"), 0),
    "colo": (UsageQuery(colo="ams"), 2),
    "no error": (UsageQuery(error_code=0), 5),
    "error of an attempt": (UsageQuery(error_code=3043), 0),
    "error of a colo's attempt": (UsageQuery(error_code=3043, colo="ams"), 1),
    "from, with a late attempt": (UsageQuery(from_ms=FIRST + HOUR_MS), 1),
    "to": (UsageQuery(to_ms=FIRST + HOUR_MS), 4),
    "a moment": (UsageQuery(from_ms=FIRST, to_ms=FIRST + 1), 2),
    "to the end of time": (UsageQuery(to_ms=2**64 - 1), 5),
}


async def test_usage_of_some(opened: Open) -> None:
    async with opened() as store:
        await store.write([MANY])

        for case, (query, kept) in SOME.items():
            found = await store.usage(query, max_rows=10)
            assert sum(row.requests for row in found) == kept, case


async def test_usage_has_at_most_so_many_rows(opened: Open) -> None:
    async with opened() as store:
        await store.write([of(*(event(number, model_id=f"m{number}") for number in range(9)))])

        assert len(await store.usage(UsageQuery(), max_rows=4)) == 4


LATEST = [
    event(1, timestamp_ms=FIRST, visited_colos=("ams", "lhr"), flags=5, hops=2, endpoint="h:1"),
    event(2, timestamp_ms=FIRST + 5, account_id="other", request_source=99),
    event(3, timestamp_ms=FIRST + 5, model_id="m", error_code=3040, http_status=429),
    event(4, timestamp_ms=FIRST + 7, request_source=RequestSource.PAGES_BINDING, queue_us=12),
]


RECENT: dict[str, tuple[RecentQuery, list[int]]] = {
    "all": (RecentQuery(), [4, 3, 2, 1]),
    "some": (RecentQuery(limit=2), [4, 3]),
    "account": (RecentQuery(account="other"), [2]),
    "SQL for an account": (RecentQuery(account="' OR true --"), []),
    "model": (RecentQuery(model="m"), [3]),
    "a moment": (RecentQuery(before=Position(timestamp_ms=FIRST + 5)), [1]),
    "another of the same moment": (
        RecentQuery(
            before=Position(timestamp_ms=FIRST + 5, server="ams-0", boot_epoch=1, sequence=3)
        ),
        [2, 1],
    ),
    "ever": (RecentQuery(before=Position(timestamp_ms=2**64 - 1)), [4, 3, 2, 1]),
}


async def test_the_last_attempts(opened: Open) -> None:
    async with opened() as store:
        await store.write([of(*LATEST)])

        for case, (query, found) in RECENT.items():
            rows = await store.recent(query)
            assert [row.sequence for row in rows] == found, case


async def test_an_attempt_has_all_that_was_recorded_of_it(opened: Open) -> None:
    gone = LifecycleEvent(begin_ts=FIRST + 9)
    async with opened() as store:
        await store.write([of(*LATEST, gone)])

        *_, second, first = await store.recent(RecentQuery())

    assert first == RecordedEvent(server="ams-0", boot_epoch=1, sequence=1, event=LATEST[0])
    assert second.event == replace(LATEST[1], request_source=0)  # a source that nobody knows
