"""Engines for text generation: hand-computed paces and the queue before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.simulate.engine import Engine, with_services
from services.scheduler.simulate.engine_queue import EngineQueue
from services.scheduler.simulate.load import ServiceLaw, load_of
from services.scheduler.simulate.tokens import Tokens, tokens_of
from services.scheduler.simulate.traces import Trace
from tests.scheduler.simulate.loads import load

# 10 tokens a second are written, 5 where a prompt is read beside; 500 of a prompt are read
SLOW = Engine(
    prefill_rate=1000, chunk_tokens=100, step_s=0.1, step_per_request_s=0.0, ttft_s=9, itl_s=9
)
Request = tuple[int, int, int]  # second of arrival, tokens read and written


def queue(
    requests: Sequence[Request],
    engine: Engine = SLOW,
    *,
    permits: int = 4,
    max_wait_s: int = 60,
    seconds: int = 60,
) -> EngineQueue:
    """A queue that gets just these requests."""
    requests = sorted(requests)
    return EngineQueue(
        load([(at, 1) for at, _, _ in requests], seconds=seconds),
        tokens=Tokens(
            read=np.array([read for _, read, _ in requests], np.uint32),
            written=np.array([written for _, _, written in requests], np.uint32),
        ),
        engine=engine,
        permits=permits,
        max_wait_s=max_wait_s,
        seed=1,
    )


def trace(requests: int, seconds: int, read: float, written: float) -> Trace:
    """The same each second."""
    means = np.full(seconds, np.nan)
    return Trace(
        name="even",
        bin_s=1,
        requests=np.full(seconds, requests, np.int64),
        mean_service_s=means,
        mean_in_tokens=np.full(seconds, read),
        mean_out_tokens=np.full(seconds, written),
    )


def test_a_step_takes_longer_with_more_who_write_and_with_a_chunk_beside() -> None:
    engine = Engine(step_s=0.01, step_per_request_s=0.001, chunk_tokens=400, prefill_rate=8000)

    assert engine.step(0) == pytest.approx(0.01)
    assert engine.step(10) == pytest.approx(0.02)
    assert engine.step_beside(10) == pytest.approx(0.07)
    assert engine.reads(10) == pytest.approx(400 / 0.07)


def test_a_request_is_read_and_written() -> None:
    line = queue([(0, 500, 11)])

    line.run(0, 3, ready=1)

    # the first token after 500 / 500 s, ten more in 0.1 s each
    assert (line.ended, line.service_s) == (1, pytest.approx(2.0))
    assert (line.demand, line.demand_sum, line.late) == (0, 1, 0)


def test_who_is_read_slows_down_who_writes() -> None:
    line = queue([(0, 500, 11), (0, 500, 11)])

    line.run(0, 4, ready=1)

    # the first has its first token at 1 s, five more until the other is read at 2 s, the rest at
    # 2.5 s; the other is written by 3 s
    assert (line.ended, line.service_s) == (2, pytest.approx(2.5 + 3.0))


def test_two_engines_read_at_once() -> None:
    line = queue([(0, 500, 11), (0, 500, 11)])

    line.run(0, 4, ready=2)

    assert (line.ended, line.service_s) == (2, pytest.approx(2.0 + 2.0))


def test_the_more_write_the_slower_is_each() -> None:
    engine = replace(SLOW, step_per_request_s=0.1)
    both = queue([(0, 1, 101), (0, 1, 101)], engine)

    both.run(0, 60, ready=1)

    # 0.1 s + 2 x 0.1 s for each of 100 tokens, but in the first quarter of a second
    assert both.service_s / 2 == pytest.approx(30, abs=1)


def test_a_first_token_may_be_late() -> None:
    line = queue([(0, 500, 11)], replace(SLOW, ttft_s=0.9))

    line.run(0, 3, ready=1)

    assert line.late_by[:3].tolist() == [0, 1, 0]


def test_other_tokens_may_be_late_on_average() -> None:
    line = queue([(0, 500, 11), (0, 500, 11)], replace(SLOW, itl_s=0.14))

    line.run(0, 4, ready=1)

    assert line.late_by[:4].tolist() == [0, 0, 1, 0]  # 1.5 s for ten, at 2.5 s; then 1 s for ten


def test_who_waits_for_a_permit_is_late_and_then_gone() -> None:
    line = queue([(0, 500, 1000), (1, 1, 1)], replace(SLOW, ttft_s=2), permits=1, max_wait_s=4)

    line.run(0, 4, ready=1)
    assert (line.queued, line.late, line.dropped) == (1, 1, 0)
    line.run(4, 6, ready=1)

    assert line.late_by[:6].tolist() == [0, 0, 0, 1, 0, 0]
    assert (line.queued, line.late, line.dropped, line.longest_wait) == (0, 1, 1, 4)


def test_who_has_no_token_at_the_end_of_all_has_waited_so_long() -> None:
    # one is read for a minute, one has a permit and waits for the engine, one waits for a permit
    line = queue([(0, 30_000, 1), (1, 1, 1), (14, 1, 1)], permits=2)
    line.run(0, 15, ready=1)
    assert (line.late, line.very_late, line.longest_wait) == (0, 0, 0)

    line.end(15)

    assert (line.late, line.very_late, line.longest_wait) == (2, 2, 15)


def test_who_waits_for_a_permit_at_the_end_of_all_has_waited_so_long() -> None:
    line = queue([(2, 1, 1)])
    line.run(0, 15, ready=0)

    line.end(15)

    assert (line.late, line.very_late, line.longest_wait) == (1, 1, 13)


def test_without_instances_all_wait() -> None:
    line = queue([(0, 1, 1)])

    line.run(0, 3, ready=0)

    assert (line.queued, line.demand) == (1, 1)


def test_an_engine_that_drains_ends_what_it_has() -> None:
    line = queue([(0, 500, 21), (0, 500, 21)])
    line.run(0, 2, ready=2)  # read at 1 s, ten written by 2 s

    assert line.drain(2, 2, 1) == [3]
    line.run(2, 4, ready=1)

    assert (line.ended, line.service_s) == (2, pytest.approx(3.0 + 3.0))


def test_a_prompt_is_read_to_its_end_where_nobody_follows() -> None:
    line = queue([(0, 1000, 1)])
    line.run(0, 1, ready=1)

    assert line.drain(1, 1, 1) == [2]  # 500 are left
    line.run(1, 3, ready=0)

    assert (line.ended, line.service_s) == (1, pytest.approx(2.0))


def test_a_full_engine_serves_as_many_as_its_service_time_says() -> None:
    engine = Engine(ttft_s=1000)
    full = with_services(trace(10, 400, read=800, written=100), engine, permits=16)
    drawn = load_of(full, ServiceLaw(cv=0), warmup_s=0, seed=1)
    tokens = tokens_of(drawn, full, cv=0.5, seed=1)
    line = EngineQueue(drawn, tokens=tokens, engine=engine, permits=16, max_wait_s=10_000, seed=1)

    line.run(0, 400, ready=1)

    assert line.queued > 0
    assert line.ended / 400 == pytest.approx(16 / full.mean_service_s[0], rel=0.05)


def test_tokens_are_drawn_around_the_means_of_their_bin() -> None:
    even = with_services(trace(100, 100, read=800, written=100), Engine(), permits=16)
    drawn = load_of(even, ServiceLaw(), warmup_s=0, seed=1)

    tokens = tokens_of(drawn, even, cv=1.0, seed=1)

    assert tokens.read.mean() == pytest.approx(800, rel=0.05)
    assert tokens.written.std() == pytest.approx(100, rel=0.1)
    assert tokens.written.min() >= 1


REQUESTS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 3000), st.integers(1, 100)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(requests=REQUESTS, ready=st.integers(1, 3), drained=st.integers(0, 2))
def test_nobody_is_lost_and_nobody_is_served_twice(
    requests: list[Request], ready: int, drained: int
) -> None:
    line = queue(requests, permits=2, max_wait_s=10, seconds=400)
    line.run(0, 20, ready)
    leaving = min(drained, ready)
    line.drain(20, ready, leaving)
    for t in range(20, 400):
        line.run(t, t + 1, max(ready - leaving, 0 if t < 40 else 1))
        assert line.inside <= 2 * ready

    assert line.demand == 0
    assert line.ended + line.dropped == len(requests)
    assert line.late <= len(requests)
