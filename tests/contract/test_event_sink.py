"""What every EventSink does: `emit` takes anything, at once, and keeps the order."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest

from libs.common.clock import SystemClock
from libs.common.events.sinks import MemorySink, UnixSocketSink
from libs.common.events.values import Event, LifecycleEvent
from libs.common.ports import EventSink
from services.analytics.collector import Collector
from services.analytics.events_api import collecting
from services.analytics.storing import Storing
from tests.analytics.support import FakeStore, event
from tests.short_dirs import short_dir

# Inside it a sink; after it, what arrived.
Open: TypeAlias = Callable[[list[Event]], AbstractAsyncContextManager[EventSink]]


@asynccontextmanager
async def memory(arrived: list[Event]) -> AsyncIterator[EventSink]:
    sink = MemorySink()
    yield sink
    arrived += sink.events


@asynccontextmanager
async def unix_socket(arrived: list[Event]) -> AsyncIterator[EventSink]:
    store = FakeStore()
    storing = Storing(store=store, name="fake", clock=SystemClock())
    collector = Collector(line=storing)
    with short_dir() as folder:
        path = folder / "events.sock"
        async with (
            storing.running(),
            collecting(path, collector, storing, drain_seconds=1.0),
            UnixSocketSink(path, server="ams-0", boot_epoch=1) as sink,
        ):
            yield sink
    arrived += [each for batch in store.batches for each in batch.events if each is not None]


@pytest.fixture(params=[memory, unix_socket])
def opened(request: pytest.FixtureRequest) -> Open:
    opener: Open = request.param
    return opener


async def test_events_arrive_in_their_order(opened: Open) -> None:
    events = [event(number) for number in range(100)] + [LifecycleEvent(begin_ts=5)]
    arrived: list[Event] = []
    async with opened(arrived) as sink:
        for each in events:
            sink.emit(each)

    assert arrived == events


async def test_no_event_raises(opened: Open) -> None:
    strange: Any = event(tokens_in=-1, hops=None, task=object(), neurons=float("nan"))
    arrived: list[Event] = []
    async with opened(arrived) as sink:
        sink.emit(strange)
        sink.emit(event(2))

    assert len(arrived) == 2


async def test_emitting_takes_no_time(opened: Open) -> None:
    events = [event(number) for number in range(2000)]
    arrived: list[Event] = []
    async with opened(arrived) as sink:
        began = time.process_time()
        for each in events:
            sink.emit(each)
        spent = time.process_time() - began

    assert spent / len(events) < 20e-6  # 0.2 us on a quiet machine
    assert len(arrived) == 2000
