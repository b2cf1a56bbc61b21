"""Outcomes: what becomes of a call is counted in its shard, in the metrics and as one event."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from libs.common.catalog import Price
from libs.common.clock import ManualClock
from libs.common.envelope import TimeBounds, Timings, Usage
from libs.common.errors import (
    Aborted,
    DeadlineExceeded,
    OutOfCapacity,
    QueueTimeUsedUp,
    RequestError,
    Unavailable,
)
from libs.common.events.occurrences import Occurrence
from libs.common.events.sinks import MemorySink
from libs.common.events.values import Event, InferenceEvent
from libs.common.ports import EventSink
from libs.common.spans import Span
from libs.eager import turns_of
from services.server.endpoints import Endpoint
from services.server.metrics import ServerMetrics
from services.server.outcomes import LATE_US, Outcomes
from services.server.records import Record
from services.server.shards import OwnedShard
from services.server.traces import Traces
from services.server.turnstile import Lease, Turnstile
from tests.fakes import COLO, MODEL, a_health, a_model, a_request
from tests.server.looking import recorded

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def outcomes(sink: MemorySink) -> Outcomes:
    return some_outcomes(sink)


def some_outcomes(sink: EventSink) -> Outcomes:
    metrics = ServerMetrics(CollectorRegistry())
    clock = ManualClock()
    health = a_health(metrics, clock)
    return Outcomes(colo=COLO, sink=sink, metrics=metrics, health=health, clock=clock)


@pytest.fixture
def shard() -> OwnedShard:
    turnstile = Turnstile(queue_limit=4, rng=random.Random(1))
    return OwnedShard(model=a_model(), colo=COLO, index=0, epoch=1, turnstile=turnstile)


def codes(sink: MemorySink) -> list[int]:
    return [each.error_code for each in sink.events if isinstance(each, InferenceEvent)]


def a_lease(shard: OwnedShard) -> Lease:
    return Lease(shard.turnstile, Endpoint(instance="i", address="h:1", concurrency=1), "only", 1)


def a_record(shard: OwnedShard | None, **changes: Any) -> Record:
    request = a_request(source_colo="fra")
    values = {"request": request, "shard": shard, "arrived": 1.0, "arrived_ms": 5}
    return recorded(**(values | changes))


async def test_a_record_begins_with_what_is_known_on_arrival(
    outcomes: Outcomes, shard: OwnedShard
) -> None:
    request = a_request(time_bounds=TimeBounds(first_part_ms=500))

    record = outcomes.open(request, shard)

    assert (record.arrived, record.arrived_ms, record.queue_size) == (1_000.0, 1_000_000, 0)
    assert record.deadline.until_first(1_000.0) == 0.5
    assert record.task is asyncio.current_task()
    assert shard.counters.arrivals == 1


async def test_calls_of_a_model_share_what_reads_its_answers(
    outcomes: Outcomes, shard: OwnedShard
) -> None:
    first, second = (outcomes.open(a_request(), shard).tokens for _ in range(2))
    shard.model = a_model(price=Price(per_request=2.0))
    third = outcomes.open(a_request(), shard).tokens

    assert first is second
    assert third is not first


async def test_a_record_of_a_call_for_a_shard_that_is_not_here(outcomes: Outcomes) -> None:
    record = outcomes.open(a_request(), None)

    assert (record.shard, record.queue_size) == (None, 0)


async def test_a_call_that_ended_well_is_taken_down_after_its_answer_is_sent(
    outcomes: Outcomes, shard: OwnedShard, sink: MemorySink
) -> None:
    turns = turns_of(asyncio.get_running_loop())
    seen_by_answer: list[int] = []
    outcomes.open(a_request(), shard)  # it knows its loop from now on

    turns.begin()  # the model's answers are being read
    turns.ask(lambda: seen_by_answer.append(len(sink.events)))
    for _ in range(2):
        outcomes.ended(a_record(shard, lease=a_lease(shard)))
    outcomes.ended(a_record(shard, lease=a_lease(shard), error=Unavailable))
    assert codes(sink) == [Unavailable.code]  # at once
    turns.end()

    assert seen_by_answer == [1]
    assert codes(sink) == [Unavailable.code, 0, 0]


class BrokenOnce:
    """A sink with a bug that shows at its first event."""

    def __init__(self) -> None:
        self.taken = 0
        self._is_broken = True

    def emit(self, event: Event | Occurrence) -> None:
        was_broken, self._is_broken = self._is_broken, False
        if was_broken:
            raise RuntimeError("a bug")
        self.taken += 1


async def test_a_bug_in_taking_one_call_down_takes_no_other_its_event(
    shard: OwnedShard, caplog: pytest.LogCaptureFixture
) -> None:
    turns = turns_of(asyncio.get_running_loop())
    sink = BrokenOnce()
    outcomes = some_outcomes(sink)
    outcomes.open(a_request(), shard)

    turns.begin()
    for _ in range(2):
        outcomes.ended(a_record(shard, lease=a_lease(shard)))
    turns.end()

    assert sink.taken == 1
    assert "a bug" in caplog.text


def test_a_served_call_is_counted_in_its_shard_and_the_metrics(
    outcomes: Outcomes, shard: OwnedShard, sink: MemorySink
) -> None:
    usage, timings = Usage(tokens_in=3, tokens_out=4), Timings(forward_us=2_000_000)
    for _ in range(2):
        outcomes.record(a_record(shard, lease=a_lease(shard), usage=usage, timings=timings))

    requests, turnstile, tokens, *_ = outcomes.metrics.tallied()
    assert (shard.counters.done, shard.counters.service_s, shard.mean_service_s) == (2, 4.0, 2.0)
    assert requests == {(COLO, MODEL, 200): 2}
    assert turnstile == {(COLO, MODEL, "leased"): 2}
    assert tokens == {(COLO, MODEL, "in"): 6, (COLO, MODEL, "out"): 8}
    assert (outcomes.metrics.errors, len(sink.events)) == ({}, 2)


def test_tokens_that_a_model_tells_below_zero_are_not_taken_off(
    outcomes: Outcomes, shard: OwnedShard
) -> None:
    outcomes.record(a_record(shard, usage=Usage(tokens_in=-3, tokens_out=-4)))

    _, _, tokens, *_ = outcomes.metrics.tallied()
    assert tokens == {}


@pytest.mark.parametrize(
    ("error", "rejected", "turned"),
    [
        (OutOfCapacity, {"fra": 1}, {(COLO, MODEL, "rejected"): 1}),
        (Unavailable, {}, {}),
    ],
    ids=["rejected", "lost"],
)
def test_a_failed_call_is_counted_with_its_error(
    outcomes: Outcomes,
    shard: OwnedShard,
    error: type[RequestError],
    rejected: dict[str, int],
    turned: dict[object, int],
) -> None:
    outcomes.record(a_record(shard, error=error))

    requests, turnstile, *_ = outcomes.metrics.tallied()
    assert (shard.counters.done, shard.counters.rejected) == (0, rejected)
    assert requests == {(COLO, MODEL, error.http): 1}
    assert outcomes.metrics.errors == {(COLO, MODEL, error.code, error.http): 1}
    assert turnstile == turned


def test_a_call_that_waited_long_is_late(outcomes: Outcomes, shard: OwnedShard) -> None:
    for waited_us in (LATE_US - 1, LATE_US):
        timings = Timings(permit_wait_us=waited_us)
        outcomes.record(a_record(shard, lease=a_lease(shard), queued=True, timings=timings))

    assert shard.counters.waited_1s == 1
    _, turnstile, *_ = outcomes.metrics.tallied()
    assert turnstile == {(COLO, MODEL, "queued"): 2}


@pytest.mark.parametrize(
    ("error", "late"),
    [(QueueTimeUsedUp, 0), (Unavailable, 0), (DeadlineExceeded, 1), (Aborted, 1)],
)
def test_one_that_waited_long_and_is_refused_is_not_late_twice(
    outcomes: Outcomes, shard: OwnedShard, error: type[RequestError], late: int
) -> None:
    timings = Timings(permit_wait_us=2 * LATE_US)

    outcomes.record(a_record(shard, error=error, queued=True, timings=timings))

    assert shard.counters.waited_1s == late


def test_a_call_without_a_shard_is_counted_too(outcomes: Outcomes, sink: MemorySink) -> None:
    outcomes.record(a_record(None, error=Unavailable))

    assert outcomes.metrics.requests == {(COLO, MODEL, Unavailable.http): 1}
    assert len(sink.events) == 1


def test_a_bug_in_a_span_is_not_the_calls(
    outcomes: Outcomes, shard: OwnedShard, sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def emit(self, span: Span) -> None:
            raise RuntimeError("a bug")

    trace = Traces(Broken(), server="s", colo=COLO).begin(a_request(traceparent=TRACE), 1.0)
    record = a_record(shard, lease=a_lease(shard), trace=trace)

    outcomes.record(record)

    assert "a bug" in caplog.text
    assert len(sink.events) == 1
