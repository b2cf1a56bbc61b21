"""Endpoints that come and go are events, told once, whichever control is active."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import duckdb
from prometheus_client import CollectorRegistry

from libs.common.backoff import Backoff
from libs.common.catalog import Backend, Model
from libs.common.clock import SystemClock
from libs.common.databases import sqlite_url
from libs.common.errors import Unavailable
from libs.common.events.sinks import MemorySink, SinkConfig, UnixSocketSink
from libs.common.events.spooling import SpoolingConfig
from libs.common.events.values import LifecycleEvent
from libs.common.lifecycle import background
from libs.common.world import World, keep_reporting
from libs.common.world_map import Assignment, Colo, Instance, Node, Report, Resource
from services.analytics import app as analytics
from services.control import app
from services.control.endpoint_events import EndpointEvents
from services.control.endpoint_tracker import Stay
from services.control.service import Control
from services.control.store import SqlStore
from tests.fakes import an_instance, put
from tests.waiting import until

ELSEWHERE = Model(name="ext", task="text-generation", backend=Backend(external=("h:9",)))
CATALOG = (Colo(name="ams"), Model(name="m", task="text-generation"))


@asynccontextmanager
async def collected(folder: Path) -> AsyncIterator[analytics.Analytics]:
    config = analytics.Config(state_dir=folder, write_age_seconds=0.0)
    made = analytics.build(config, registry=CollectorRegistry())
    async with analytics.serve(config, made):
        yield made


def rows(folder: Path) -> list[tuple[Any, ...]]:
    with closing(duckdb.connect(str(folder / "events.duckdb"), read_only=True)) as events:
        return events.execute(
            "SELECT begin_ts, end_ts, event_type, model_id, hostname, colo, node, endpoint "
            "FROM lifecycle_events ORDER BY sequence"
        ).fetchall()


def stored(made: analytics.Analytics) -> int:
    (line,) = made.lines.each.values()
    return line.counts.events


class ANode:
    """Reports the instances that the test says."""

    def __init__(self) -> None:
        self.instances: list[Instance] = []
        self.wake = asyncio.Event()

    @asynccontextmanager
    async def reporting_to(self, control: Control) -> AsyncIterator[None]:
        reporting = keep_reporting(
            control, self._report, every_s=0.05, wake=self.wake, backoff=Backoff(first_s=0.01)
        )
        async with background(reporting, name="node"):
            yield

    def _report(self) -> Report:
        resources = (Node(name="ams-node", colo="ams"), *self.instances)
        return Report(kind="node", name="ams-node", colo="ams", resources=resources)


async def test_an_instance_that_starts_and_stops_is_two_rows_of_the_store(folder: Path) -> None:
    config = app.Config(
        state_dir=folder, listen="", grace_s=0.0, events=folder / "events.sock", name="the-control"
    )
    node, began = ANode(), SystemClock().unix_ms()
    async with collected(folder) as collector:
        control = app.build(config, catalog=CATALOG)
        async with app.serve(config, control), node.reporting_to(control):
            node.instances = [an_instance(0, model="m", state="booting")]
            await asyncio.sleep(0.1)
            node.instances = [an_instance(0, model="m")]
            await until(lambda: stored(collector) == 1, 5)
            node.instances = [an_instance(0, model="m", state="draining")]
            await asyncio.sleep(0.1)
            node.instances = []
            await until(lambda: stored(collector) == 2, 5)

    first, second = rows(folder)
    about = ("endpoint", "m", socket.gethostname(), "ams", "ams-node", "127.0.0.1:9000")
    assert first[1:] == (0, *about)
    assert second[2:] == about
    assert began <= first[0] == second[0] < second[1] <= SystemClock().unix_ms()


@asynccontextmanager
async def tracked(
    folder: Path, sink: MemorySink, *catalog: Resource, grace_s: float = 5.0
) -> AsyncIterator[Control]:
    config = app.Config(state_dir=folder, listen="", grace_s=grace_s)
    control = app.build(config, catalog=[*CATALOG, *catalog])
    tracking = control.track_endpoints(sink, hostname="h")
    async with app.serve(config, control), background(tracking, name="endpoints"):
        yield control


def told(sink: MemorySink) -> list[tuple[str, bool]]:
    events = [each for each in sink.events if isinstance(each, LifecycleEvent)]
    return [(each.endpoint, bool(each.end_ts)) for each in events]


async def test_a_restart_tells_nothing_of_what_stays_and_ends_what_has_left(folder: Path) -> None:
    sink, node = MemorySink(), ANode()
    node.instances = [an_instance(0, model="m"), an_instance(1, model="m")]
    async with tracked(folder, sink, grace_s=0.2) as control, node.reporting_to(control):
        await control.put(Assignment(node="ams-node", model="m", instances=2, colo="ams"))
        await until(lambda: len(sink.events) == 2, 5)

    node.instances.pop()
    async with tracked(folder, sink) as control:
        await asyncio.sleep(0.3)  # the node is awaited: nothing has left yet
        assert len(sink.events) == 2
        async with node.reporting_to(control):
            await until(lambda: len(sink.events) == 3, 5)
            await asyncio.sleep(0.1)

    assert told(sink)[2:] == [("127.0.0.1:9001", True)]
    ends = {each.endpoint: each for each in sink.events if isinstance(each, LifecycleEvent)}
    begins = {each.endpoint: each.begin_ts for each in sink.events[:2]}  # type: ignore[union-attr]
    assert ends["127.0.0.1:9001"].begin_ts == begins["127.0.0.1:9001"]


async def test_a_control_that_stops_before_all_are_back_ends_nothing(folder: Path) -> None:
    sink, node = MemorySink(), ANode()
    node.instances = [an_instance(0, model="m")]
    async with tracked(folder, sink, grace_s=0.2) as control, node.reporting_to(control):
        await control.put(Assignment(node="ams-node", model="m", instances=1, colo="ams"))
        await until(lambda: len(sink.events) == 1, 5)

    async with tracked(folder, sink) as control:
        await asyncio.sleep(0.1)
        control.stop()
        await asyncio.sleep(0.1)

    assert told(sink) == [("127.0.0.1:9000", False)]


async def test_an_external_endpoint_is_one_in_each_colo(folder: Path) -> None:
    sink = MemorySink()
    async with tracked(folder, sink, ELSEWHERE, Colo(name="iad"), grace_s=0.1):
        await until(lambda: len(sink.events) == 2, 5)

    found = [each for each in sink.events if isinstance(each, LifecycleEvent)]
    assert {(each.colo, each.node, each.endpoint) for each in found} == {
        ("ams", "", "h:9"),
        ("iad", "", "h:9"),
    }


class Away(SqlStore):
    """A store that can be had only sometimes."""

    is_away = False

    async def keep_stays(self, changed: Any, *, seen_ts: int) -> None:
        if self.is_away:
            raise Unavailable("away")
        await super().keep_stays(changed, seen_ts=seen_ts)


async def test_nothing_is_told_before_it_is_kept(folder: Path) -> None:
    world, sink, store = World(), MemorySink(), Away(sqlite_url(folder / "control.db"))
    await store.open()
    store.is_away = True
    put(world, an_instance(0), complete=True)
    events = EndpointEvents(world=world, store=store, sink=sink, hostname="h", clock=SystemClock())

    async with background(events.run(), name="endpoints"):
        await asyncio.sleep(0.1)
        assert sink.events == []
        store.is_away = False
        await until(lambda: len(sink.events) == 1, 5)

    kept, seen_ts = await store.stays()
    await store.close()
    assert [each.endpoint.instance for each in kept] == [an_instance(0).id]
    assert isinstance(kept[0], Stay)
    assert seen_ts >= kept[0].begin_ts


async def test_a_fleet_that_is_seen_in_one_look_is_told_whole(folder: Path) -> None:
    world, store, count = World(), SqlStore(sqlite_url(folder / "control.db")), 6000
    await store.open()
    put(world, *(an_instance(number) for number in range(count)), complete=True)
    config = SinkConfig(close_seconds=0.1, spooling=SpoolingConfig(folder=folder / "spool"))
    sink = UnixSocketSink(folder / "events.sock", server="c", boot_epoch=1, config=config)
    events = EndpointEvents(world=world, store=store, sink=sink, hostname="h", clock=SystemClock())

    async with sink, background(events.run(), name="endpoints"):
        await until(lambda: sink.waiting + sink.counts.dropped == count, 30)

    await store.close()
    assert sink.counts.dropped == 0
