"""Spans on their way to a collector: in batches, again where that may help, in nobody's way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from libs.common.clients.otlp import BATCH, OtlpExporter
from libs.common.metrics import Counts
from libs.common.otlp import ExportRequest, rejected_in
from libs.common.spans import CLIENT, STEP_NS, Attributes, Span, WallClock, alone
from tests.collector import Collector, collecting, values_of
from tests.waiting import until

AT_ONCE = (0.001,) * 9
RESOURCE = {"service.name": "constellation-x", "service.instance.id": "x-1"}


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as collector:
        yield collector


@asynccontextmanager
async def exporting(url: str, **changes: Any) -> AsyncIterator[tuple[OtlpExporter, Counts]]:
    counts = Counts("spans", "", ("service", "outcome"))
    usual = {"every_s": 0.01, "backoff": AT_ONCE}
    exporter = OtlpExporter(
        f"{url}/v1/traces", resource=RESOURCE, version="1", counts=counts, **usual | changes
    )
    async with exporter:
        yield exporter, counts


def a_span(number: int = 0, **changes: Any) -> Span:
    usual = {"name": f"span {number}", "trace_id": "1" * 32, "span_id": "2" * 16}
    return Span(**usual | {"began_ns": 5, "ended_ns": 7} | changes)


def sent(counts: Counts, outcome: str = "sent") -> int:
    return counts["constellation-x", outcome]


async def test_a_span_comes_with_all_that_it_says(collector: Collector) -> None:
    attributes = {"text": "a", "count": 2**62, "share": 0.5, "yes": True}
    async with exporting(collector.url, headers={"x-key": "secret"}) as (exporter, _):
        exporter.emit(
            a_span(
                parent_id="3" * 16,
                kind=CLIENT,
                state="a=1",
                attributes=attributes,
                has_failed=True,
                error="no memory",
            )
        )
        (span,) = await collector.traces(1)

    assert (span.name, span.kind, span.state) == ("span 0", CLIENT, "a=1")
    assert (span.trace_id, span.span_id, span.parent_id) == ("1" * 32, "2" * 16, "3" * 16)
    assert (span.began_ns, span.ended_ns, span.has_failed) == (5, 7, True)
    assert span.attributes == attributes
    assert span.resource == RESOURCE
    assert collector.headers[0]["x-key"] == "secret"
    assert collector.headers[0]["content-type"] == "application/x-protobuf"


async def test_many_spans_go_in_few_requests(collector: Collector) -> None:
    async with exporting(collector.url) as (exporter, counts):
        for number in range(2 * BATCH + 10):
            exporter.emit(a_span(number))
        await until(lambda: len(collector.spans) == 2 * BATCH + 10)

    assert collector.requests == [BATCH, BATCH, 10]
    assert [each.name for each in collector.spans] == [f"span {n}" for n in range(2 * BATCH + 10)]
    assert sent(counts) == 2 * BATCH + 10


async def test_what_is_left_is_sent_on_leaving(collector: Collector) -> None:
    async with exporting(collector.url, every_s=60.0) as (exporter, counts):
        await asyncio.sleep(0)
        exporter.emit(a_span())

    assert (len(collector.spans), sent(counts)) == (1, 1)


async def test_what_may_pass_is_sent_again(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.answers = [503, 429]
    with caplog.at_level(logging.INFO):
        async with exporting(collector.url) as (exporter, counts):
            exporter.emit(a_span())
            await collector.traces(1)
            await until(lambda: sent(counts) == 1)

    assert (len(collector.headers), sent(counts, "dropped")) == (3, 0)
    assert caplog.text.count("spans wait") == 1
    assert "is back" in caplog.text


@pytest.mark.parametrize(("answers", "tries"), [([400], 1), ([503] * 9, 6)])
async def test_what_is_refused_is_dropped_and_counted(
    collector: Collector, answers: list[int], tries: int
) -> None:
    collector.answers = list(answers)
    async with exporting(collector.url) as (exporter, counts):
        exporter.emit(a_span())
        await until(lambda: sent(counts, "dropped") == 1)

    assert (len(collector.headers), sent(counts)) == (tries, 0)


async def test_spans_that_the_collector_does_not_take_are_counted(collector: Collector) -> None:
    collector.rejects = 2
    async with exporting(collector.url) as (exporter, counts):
        for number in range(3):
            exporter.emit(a_span(number))
        await until(lambda: sent(counts) == 1)

    assert sent(counts, "rejected") == 2


async def test_without_a_collector_no_more_than_the_bound_waits_and_each_loss_is_counted() -> None:
    bound, made = 2 * BATCH, 5 * BATCH
    async with exporting("http://127.0.0.1:9", bound=bound, backoff=(60.0,)) as (exporter, counts):
        for number in range(made):
            exporter.emit(a_span(number))
        await asyncio.sleep(0.05)  # one batch is being sent, and is not taken
        assert sent(counts, "dropped") == made - bound
        for number in range(made):
            exporter.emit(a_span(number))
        assert sent(counts, "dropped") == 2 * made - bound - BATCH

    assert sent(counts, "dropped") == 2 * made
    assert sent(counts) == 0


async def test_a_span_that_cannot_be_written_is_not_the_end_of_the_others(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    async with exporting(collector.url) as (exporter, counts):
        exporter.emit(a_span(1, began_ns=-1))
        await until(lambda: sent(counts, "dropped") == 1)
        exporter.emit(a_span(2))
        (span,) = await collector.traces(1)

    assert span.name == "span 2"
    assert "this is a bug" in caplog.text


async def test_a_collector_that_says_nothing_does_not_keep_a_service_from_leaving() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    began = asyncio.get_running_loop().time()
    async with exporting(f"http://127.0.0.1:{port}", leave_s=0.1) as (exporter, counts):
        exporter.emit(a_span())
        await asyncio.sleep(0.05)
    server.close()

    assert asyncio.get_running_loop().time() - began < 2
    assert sent(counts, "dropped") == 1


TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)
VALUES = st.one_of(
    TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)
)
NANOSECONDS = st.integers(0, 2**63)


@given(
    st.lists(
        st.builds(
            a_span,
            name=TEXTS,
            parent_id=st.sampled_from(("", "3" * 16)),
            kind=st.sampled_from((1, 2, 3)),
            state=TEXTS,
            began_ns=NANOSECONDS,
            ended_ns=NANOSECONDS,
            attributes=st.dictionaries(TEXTS, VALUES, max_size=4),
            shared=st.none() | st.builds(Attributes, st.dictionaries(TEXTS, VALUES, max_size=4)),
            has_failed=st.booleans(),
            error=TEXTS,
        ),
        max_size=3,
    )
)
@settings(max_examples=40)
def test_what_is_written_is_what_the_protocols_classes_read(spans: list[Span]) -> None:
    request = ExportRequest({"service.name": "x", "count": 3}, "1.2")
    request.add(spans)
    request.add(spans)  # what they have in common is written already

    message = ExportTraceServiceRequest.FromString(request.body())

    (of_resource,) = message.resource_spans
    (of_scope,) = of_resource.scope_spans
    assert values_of(of_resource.resource.attributes) == {"service.name": "x", "count": 3}
    assert (of_scope.scope.name, of_scope.scope.version) == ("constellation", "1.2")
    for read, span in zip(of_scope.spans, [*spans, *spans], strict=True):
        assert (read.trace_id.hex(), read.span_id.hex()) == (span.trace_id, span.span_id)
        assert (read.parent_span_id.hex(), read.trace_state) == (span.parent_id, span.state)
        assert (read.name, read.kind, read.flags) == (span.name, span.kind, 1)
        assert read.start_time_unix_nano == span.began_ns
        assert read.end_time_unix_nano == max(span.began_ns, span.ended_ns)
        shared = span.shared.values if span.shared is not None else {}
        assert values_of(read.attributes) == {**shared, **span.attributes}
        assert read.status.code == (2 if span.has_failed else 0)
        assert read.status.message == (span.error if span.has_failed else "")
        assert len(UnknownFieldSet(read)) == 0


@given(st.integers(0, 2**63 - 1), TEXTS)
def test_an_answer_is_read_as_the_protocols_classes_write_it(count: int, why: str) -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = count
    answer.partial_success.error_message = why

    assert rejected_in(answer.SerializeToString()) == (count, why)
    assert rejected_in(b"") == (0, "")


@given(st.binary(max_size=40))
def test_words_in_place_of_an_answer_do_no_harm(answer: bytes) -> None:
    count, why = rejected_in(answer)

    assert isinstance(count, int)
    assert isinstance(why, str)


def test_a_span_alone_is_a_trace_of_its_own() -> None:
    one, two = (alone("boot", began_ms=1, ended_ms=3, error="no memory") for _ in range(2))

    assert one.trace_id != two.trace_id
    assert (one.began_ns, one.ended_ns, one.parent_id) == (1_000_000, 3_000_000, "")
    assert (one.has_failed, one.error) == (True, "no memory")


def test_moments_keep_their_distance_until_the_wall_clock_is_set() -> None:
    walls = iter([1_000, *[1_400] * 5, *[STEP_NS + 2_000] * 3])
    clock = WallClock(monotonic_ns=lambda: 0, unix_ns=lambda: next(walls))

    assert clock.unix_ns(2.0) == 2_000_001_000
    assert clock.unix_ns(2.5) == 2_500_001_000  # 400 ns are the looks' own
    assert clock.unix_ns(3.5) == 3_500_002_000 + STEP_NS
