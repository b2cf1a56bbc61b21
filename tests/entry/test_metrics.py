"""Entry's metrics: every request is counted once, whatever becomes of it."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from libs.common.errors import Internal, RequestError, StreamLost, Unauthenticated
from services.entry.metrics import EntryMetrics

TASK = "text-generation"


def a_metrics() -> EntryMetrics:
    return EntryMetrics(CollectorRegistry())


def count(metrics: EntryMetrics, name: str, **labels: object) -> float | None:
    texts = {"colo": "ams"} | {key: str(value) for key, value in labels.items()}
    return metrics.registry.get_sample_value(f"constellation_entry_{name}", texts)


def test_what_was_never_counted_is_named_all_the_same() -> None:
    text = generate_latest(a_metrics().registry).decode()

    assert text.splitlines() == [
        "# HELP constellation_entry_requests_total"
        " Requests by HTTP status and task; 499: the client left; without a task: no call of a"
        " model, or none yet.",
        "# TYPE constellation_entry_requests_total counter",
        "# HELP constellation_entry_errors_total"
        " Errors told to clients, in streams that had begun, too, by public code.",
        "# TYPE constellation_entry_errors_total counter",
        "# HELP constellation_entry_refused_total Requests that ended with 429 or 503, by model.",
        "# TYPE constellation_entry_refused_total counter",
        "# HELP constellation_entry_broken_streams_total Streams whose instance or server was lost,"
        " by their end: continued elsewhere, whole (nothing was missing any more), lost.",
        "# TYPE constellation_entry_broken_streams_total counter",
        "# HELP constellation_entry_fallbacks_total"
        " Calls that went on from a model that had no room, or failed, to the next of its"
        " fallbacks.",
        "# TYPE constellation_entry_fallbacks_total counter",
        "# HELP constellation_entry_in_flight Requests being answered.",
        "# TYPE constellation_entry_in_flight gauge",
    ]


def test_a_request_is_in_flight_until_it_is_answered() -> None:
    metrics = a_metrics()

    with metrics.request("ams") as counted:
        counted.task = TASK
        assert count(metrics, "in_flight") == 1
        assert repr(counted) == "<Counted ams text-generation>"

    assert count(metrics, "in_flight") == 0
    assert count(metrics, "requests_total", status=200, task=TASK) == 1
    assert metrics.errors == {}


def test_who_only_asks_to_count_has_counted_nothing() -> None:
    metrics = a_metrics()

    metrics.request("ams")

    assert count(metrics, "in_flight") == 0


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Unauthenticated("who?"), 401, Unauthenticated.code),
        (asyncio.CancelledError(), 499, None),
        (ConnectionResetError(), 499, None),
        (ZeroDivisionError(), 500, Internal.code),
        (GeneratorExit(), 500, None),
    ],
    ids=["refused", "cancelled", "client left", "a bug", "no error of ours"],
)
def test_an_error_is_counted_and_goes_on(
    error: BaseException, status: int, code: int | None
) -> None:
    metrics = a_metrics()

    with pytest.raises(type(error)) as raised, metrics.request("ams"):
        raise error

    assert raised.value is error
    assert metrics.answered() == {("ams", status, ""): 1}
    assert metrics.errors == ({("ams", code): 1} if code else {})
    assert count(metrics, "in_flight") == 0


def test_a_stream_that_broke_after_its_200_is_an_error_too() -> None:
    metrics = a_metrics()

    with metrics.request("ams") as counted:
        counted.error = StreamLost("lost")

    assert metrics.answered() == {("ams", 200, ""): 1}
    assert metrics.errors == {("ams", StreamLost.code): 1}


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, None), (401, Unauthenticated("who?")), (499, None)],
    ids=["well", "badly", "alone"],
)
def test_what_callbacks_begin_and_end_is_counted_the_same(
    status: int, error: RequestError | None
) -> None:
    metrics = a_metrics()
    counted = metrics.begin("ams")
    counted.task = TASK
    assert count(metrics, "in_flight") == 1

    metrics.end(counted, status, error)

    assert count(metrics, "in_flight") == 0
    assert count(metrics, "requests_total", status=status, task=TASK) == 1
    assert metrics.errors == ({("ams", error.code): 1} if error else {})


def test_a_second_end_counts_nothing() -> None:
    metrics = a_metrics()
    counted = metrics.begin("ams")
    metrics.end(counted, 200)

    metrics.end(counted, 499)

    assert metrics.answered() == {("ams", 200, ""): 1}
    assert count(metrics, "in_flight") == 0
    assert repr(counted) == "<Counted ams no task over>"


def test_refusals_are_counted_by_model() -> None:
    metrics = a_metrics()

    metrics.refused_one("ams", 'a "model"\n')

    assert count(metrics, "refused_total", model='a "model"\n') == 1
