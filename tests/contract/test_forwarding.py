"""Servers that pass calls on to one another: by plain calls, and over real connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from libs.common.catalog import Permits
from libs.common.connections import Connections, over
from libs.common.envelope import TimeBounds
from libs.common.errors import (
    DeadlineExceeded,
    HopsUsedUp,
    ModelFailed,
    OutOfCapacity,
    ServerLost,
)
from libs.common.events.sinks import MemorySink
from libs.common.events.values import Flag, InferenceEvent
from libs.common.hops import listening
from libs.common.ports import Inference
from libs.common.world import World
from libs.common.world_map import Colo, Instance, Resource, Server, Shard, ShardLoad, Update
from services.server.forwarding import Settings
from services.server.grpc_api import InferenceApi
from services.server.metrics import ServerMetrics
from services.server.service import InferenceServer
from tests.certificates import certified
from tests.fakes import MODEL, ScriptedBackend, a_model, a_request, a_server
from tests.short_dirs import short_dir
from tests.streams import parts_of

BOUNDS = TimeBounds(first_part_ms=5_000, idle_ms=5_000, total_ms=8_000)


class Station:
    """One server with its backend, its events, and a copy of the world of its own."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.colo = name.partition("-")[0]
        self.world = World()
        self.backend = ScriptedBackend()
        self.sink = MemorySink()
        self.metrics = ServerMetrics(CollectorRegistry())
        self.woken = 0
        self.release = asyncio.Event()
        self.server: InferenceServer

    def build(self, connections: Connections, settings: Settings) -> None:
        self.server = a_server(
            self.world,
            self.backend,
            self.sink,
            name=self.name,
            colo=self.colo,
            address=self.address,
            metrics=self.metrics,
            connections=connections,
            forwarding=settings,
            wake=self.wake,
        )

    def wake(self) -> None:
        self.woken += 1

    @property
    def events(self) -> list[InferenceEvent]:
        return [each for each in self.sink.events if isinstance(each, InferenceEvent)]

    @property
    def loads(self) -> list[ShardLoad]:
        return [e for e in self.server.report().resources if isinstance(e, ShardLoad)]

    @property
    def load(self) -> ShardLoad:
        (found,) = self.loads
        return found

    def busy(self, calls: int) -> list[asyncio.Task[Any]]:
        """Start calls that hold permits, or places in the queue, until they are released."""

        async def hold(*_: object) -> bytes:
            await self.release.wait()
            return b"held"

        self.backend.on_infer = hold
        stays = a_request(visited_colos=("x", "y"), time_bounds=BOUNDS)
        return [asyncio.create_task(self.server.infer(stays)) for _ in range(calls)]


class Cluster:
    """Stations that all hear what is told, and reach one another as the test's way has it."""

    def __init__(self, way: str, folder: Path, stack: AsyncExitStack) -> None:
        self._way = way
        self._folder = folder
        self._tls = certified(folder) if way == "mutual tls" else None
        self._stack = stack
        self._versions = count(1)
        self.stations: dict[str, Station] = {}
        self.local: dict[str, Inference] = {}
        self.settings = Settings(margin_ms=50, max_hops=2)

    async def start(self, *names: str) -> list[Station]:
        """Start servers named after their colos, and tell all of all of them."""
        for name in names:
            address = self._address(name)
            station = self.stations[name] = Station(name, address)
            connections = Connections(
                world=station.world, connect=over("lean", self._tls), local=self.local
            )
            self._stack.push_async_callback(connections.close)
            station.build(connections, self.settings)
            self.local[address] = station.server
            if self._way != "plain":
                handlers = InferenceApi(station.server).handlers()
                await self._stack.enter_async_context(
                    listening(address, handlers, drain_s=0.1, tls=self._tls)
                )
                del self.local[address]
        model = a_model(permits=Permits(per_instance=1, queue=1))
        owners = {station.colo: station for station in self.stations.values()}
        self.tell(model, *(each.server.me for each in self.stations.values()))
        for colo, owner in owners.items():
            self.tell(
                Colo(name=colo),
                Instance(
                    id=f"{colo}-i", model=MODEL, colo=colo, address=f"{colo}:1", state="ready"
                ),
                Shard(model=MODEL, colo=colo, index=0, owner=owner.name, epoch=1),
            )
            self.full(colo, free=1)
        return [self.stations[name] for name in names]

    def _address(self, name: str) -> str:
        if self._way == "plain":
            return f"local:{name}"
        if self._tls is None:
            return f"unix:{self._folder}/{name}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return f"localhost:{free.getsockname()[1]}"

    def tell(self, *resources: Resource, to: list[Station] | None = None) -> None:
        for each in to or self.stations.values():
            version = next(self._versions)
            each.world.apply(Update(version=version, complete=version == 0, puts=resources))

    def full(self, colo: str, **how: Any) -> None:
        """Tell all how full a colo is."""
        shown = {"permits": 1, "free": 0, "done": 1, "service_s": 1.0} | how
        self.tell(ShardLoad(model=MODEL, colo=colo, index=0, server="", **shown))


@pytest.fixture(params=["plain", "lean", "mutual tls"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    with short_dir() as folder:
        async with AsyncExitStack() as stack:
            made = Cluster(request.param, folder, stack)
            yield made
            for station in made.stations.values():
                station.release.set()
            async with asyncio.timeout(5):
                for station in made.stations.values():
                    while station.server.in_flight:
                        await asyncio.sleep(0.01)
                    assert all(load.in_flight == 0 for load in station.loads)


async def settled(calls: list[asyncio.Task[Any]]) -> None:
    """Let calls come to where they wait."""
    await asyncio.sleep(0.05)
    assert not any(call.done() for call in calls)


async def test_a_full_colo_lets_another_serve(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    held = ams.busy(1)
    await settled(held)

    reply = await ams.server.infer(
        a_request(source_colo="ams", time_bounds=BOUNDS, client_request_id="mine")
    )

    assert (reply.payload, reply.outcome.serving_colo, reply.outcome.hops) == (b"hello", "lhr", 1)
    assert (reply.outcome.free_permits, reply.outcome.queue_length) == (0, 0), "those of ams"
    (told,) = lhr.events
    assert (told.colo_id, told.source_colo_id, told.visited_colos) == ("lhr", "ams", ("ams",))
    assert (told.hops, told.flags & Flag.FORWARDED) == (1, Flag.FORWARDED)
    assert not told.flags & Flag.QUEUED_IN_COLO
    assert told.client_request_id == "mine"
    assert ams.events == []
    assert ams.load.forwarded == {"ams": 1}
    assert ams.metrics.forwarded["ams", MODEL, "ams", "lhr"] == 1
    (_, sent) = lhr.backend.calls[0]
    assert 0 < sent.time_bounds.first_part_ms <= BOUNDS.first_part_ms


async def test_a_stream_is_passed_on_and_its_end_told_once(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    await settled(ams.busy(1))

    parts = [part async for part in parts_of(ams.server, a_request(stream=True))]

    assert [p for each in parts for p in each.payloads] == [b"part 0", b"part 1", b"part 2"]
    assert parts[-1].outcome is not None
    assert (parts[-1].outcome.serving_colo, parts[-1].outcome.hops) == ("lhr", 1)
    assert parts[-1].outcome.usage.tokens_out == 3
    assert (len(ams.events), len(lhr.events)) == (0, 1)


async def test_who_leaves_stops_the_model_at_the_other_end(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    await settled(ams.busy(1))

    async def endless(*_: object) -> AsyncGenerator[bytes, None]:
        while True:
            yield b"more"
            await asyncio.sleep(0.001)

    lhr.backend.on_stream = endless
    async with aclosing(parts_of(ams.server, a_request(stream=True))) as parts:
        await anext(parts)

    await until(lambda: lhr.backend.closed == 1 and lhr.server.in_flight == 0)
    assert (len(ams.events), len(lhr.events)) == (0, 1)
    assert lhr.events[0].flags & Flag.CANCELLED


async def test_a_call_is_cancelled_along_its_hops(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    await settled([*ams.busy(1), *lhr.busy(0)])
    request = a_request(request_id="1" * 26, time_bounds=BOUNDS)
    call = asyncio.create_task(ams.server.infer(request))
    await settled([call])

    assert ams.server.cancel(account="a" * 32, request_id="1" * 26) == 1

    with pytest.raises(Exception, match="was cancelled"):
        await call
    await until(lambda: lhr.server.in_flight == 0)


async def test_time_bounds_hold_over_a_hop(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    await settled([*ams.busy(1), *lhr.busy(0)])

    with pytest.raises(DeadlineExceeded):
        await ams.server.infer(a_request(time_bounds=TimeBounds(first_part_ms=100)))

    assert ([e.error_code for e in lhr.events], ams.events) == ([3007], [])


async def test_what_the_model_says_there_is_said_here(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    await settled(ams.busy(1))

    async def fail(*_: object) -> bytes:
        raise ModelFailed("no such weights", sent=True)

    lhr.backend.on_infer = fail
    with pytest.raises(ModelFailed, match="no such weights"):
        await ams.server.infer(a_request())

    assert (len(ams.events), len(lhr.events)) == (0, 1), "who ran it tells of it"


async def test_a_short_wait_is_waited_for_here(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    cluster.full("lhr", service_s=60.0)
    held = ams.busy(2)

    await settled(held)
    assert ams.load.queued == 1
    ams.release.set()

    assert [each.payload for each in await asyncio.gather(*held)] == [b"held", b"held"]
    assert lhr.backend.calls == []


async def test_one_that_turns_out_to_be_full_sends_the_call_back_into_the_queue(
    cluster: Cluster,
) -> None:
    ams, lhr = await cluster.start("ams", "lhr")  # all believe that lhr has a permit
    held = [*ams.busy(1), *lhr.busy(2)]
    await settled(held)

    call = asyncio.create_task(ams.server.infer(a_request(time_bounds=BOUNDS)))
    await until(lambda: ams.load.queued == 1)
    ams.release.set()

    assert (await call).outcome.serving_colo == "ams"
    assert [e.error_code for e in (*ams.events, *lhr.events)] == [0, 0]


async def test_when_all_are_full_one_event_says_so(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    held = [*ams.busy(2), *lhr.busy(2)]
    await settled(held)

    with pytest.raises(OutOfCapacity) as refused:
        await ams.server.infer(a_request(source_colo="sin"))

    assert refused.value.retry_after_ms >= 1000
    assert (refused.value.free_permits, refused.value.queue_length) == (0, 1)
    assert [each.error_code for each in ams.events] == [3040]
    assert lhr.events == []
    assert ams.load.rejected == {"sin": 1}

    before = ams.metrics.forward_failures.copy()
    with pytest.raises(OutOfCapacity):  # and now it is known: nobody is asked in vain
        await ams.server.infer(a_request())
    assert lhr.load.arrivals == 3
    assert ams.metrics.forward_failures == before == {}


async def test_a_full_queue_is_left_for_a_long_one(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    cluster.full("lhr", service_s=60.0)
    await settled(ams.busy(2))

    reply = await ams.server.infer(a_request())

    assert reply.outcome.serving_colo == "lhr"
    assert not lhr.events[0].flags & Flag.QUEUED_IN_COLO


async def test_busy_is_rejected_only_where_all_are(cluster: Cluster) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    await settled(ams.busy(1))

    reply = await ams.server.infer(a_request(reject_if_busy=True))
    await settled(lhr.busy(1))
    with pytest.raises(OutOfCapacity):
        await ams.server.infer(a_request(reject_if_busy=True))

    assert reply.outcome.serving_colo == "lhr"
    assert (ams.load.queued, lhr.load.queued) == (0, 0)


async def test_hops_have_a_bound(cluster: Cluster) -> None:
    cluster.settings = Settings(max_hops=0)
    ams, lhr = await cluster.start("ams", "lhr")
    await settled(ams.busy(2))

    with pytest.raises(HopsUsedUp) as refused:
        await ams.server.infer(a_request())

    assert refused.value.code == 3052
    assert [each.error_code for each in ams.events] == [3052]
    assert lhr.backend.calls == []


async def test_a_call_never_walks_in_circles(cluster: Cluster) -> None:
    stations = await cluster.start("ams", "lhr", "sin")  # all believe that all others are free
    held = [call for each in stations for call in each.busy(2)]
    await settled(held)

    with pytest.raises((OutOfCapacity, HopsUsedUp)):
        await stations[0].server.infer(a_request())

    assert [each.load.arrivals for each in stations] == [3, 3, 3]
    assert [len(each.events) for each in stations] == [1, 0, 0]


async def test_a_server_that_cannot_be_reached_is_counted_and_passed_over(
    cluster: Cluster,
) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    cluster.tell(
        Colo(name="fra"),
        Server(name="fra", colo="fra", address="unix:/nobody/is/here"),
        Shard(model=MODEL, colo="fra", index=0, owner="fra", epoch=1),
    )
    cluster.full("fra", free=9)
    await settled(ams.busy(1))

    replies = [await ams.server.infer(a_request()) for _ in range(2)]

    assert {each.outcome.serving_colo for each in replies} == {"lhr"}
    assert len(lhr.events) == 2
    assert ams.metrics.forward_failures == {("ams", MODEL): 1}, "and not tried again at once"


async def test_a_moved_shard_is_followed_without_a_hop(cluster: Cluster) -> None:
    old, new = await cluster.start("ams-1", "ams-2")
    cluster.tell(Shard(model=MODEL, colo="ams", index=0, owner="ams-2", epoch=2))

    late = await old.server.infer(a_request(shard_epoch=1))
    current = await old.server.infer(a_request(shard_epoch=2))

    assert [each.outcome.hops for each in (late, current)] == [0, 0]
    assert [each.flags & Flag.FORWARDED for each in new.events] == [0, 0]
    assert [each.visited_colos for each in new.events] == [(), ()]
    assert old.events == []


async def test_an_owner_that_hears_of_it_after_its_callers_waits_for_the_word(
    cluster: Cluster,
) -> None:
    _, new = await cluster.start("ams-2", "ams-1")  # the last one owns it
    old = cluster.stations["ams-1"]
    moved = Shard(model=MODEL, colo="ams", index=0, owner="ams-2", epoch=2)
    new = cluster.stations["ams-2"]
    call = asyncio.create_task(new.server.infer(a_request(shard_epoch=2)))
    await settled([call])

    cluster.tell(moved, to=[new])

    assert (await call).outcome.hops == 0
    assert (len(new.events), len(old.events)) == (1, 0)


async def test_what_nobody_owns_is_lost_for_the_moment(cluster: Cluster) -> None:
    (ams,) = await cluster.start("ams")

    with pytest.raises(ServerLost) as refused:
        await ams.server.infer(a_request(shard_epoch=9))

    assert (refused.value.sent, refused.value.retryable) == (False, True)


async def test_a_queue_is_handed_over_to_the_next_owner(cluster: Cluster) -> None:
    new, old = await cluster.start("ams-2", "ams-1")
    running = old.busy(1)
    await settled(running)
    waiting = asyncio.create_task(
        old.server.infer(a_request(time_bounds=BOUNDS, visited_colos=("x", "y")))
    )
    await settled([waiting])

    cluster.tell(Shard(model=MODEL, colo="ams", index=0, owner="ams-2", epoch=2))

    assert (await waiting).payload == b"hello"
    (told,) = new.events
    assert told.flags & Flag.QUEUED_IN_COLO, "it has queued, though not there"
    assert new.woken, "how full it is, all should know at once"
    old.release.set()
    assert (await running[0]).payload == b"held", "what runs ends where it began"


async def test_a_server_that_leaves_sends_all_who_wait_and_come_to_another_colo(
    cluster: Cluster,
) -> None:
    ams, lhr = await cluster.start("ams", "lhr")
    cluster.full("lhr", service_s=99.0)
    held = ams.busy(1)
    await settled(held)
    waiting = asyncio.create_task(ams.server.infer(a_request(time_bounds=BOUNDS)))
    await settled([waiting])

    ams.server.drain()
    ams.server.hand_over()
    reply, late = await waiting, await ams.server.infer(a_request())

    assert (reply.outcome.serving_colo, reply.outcome.hops) == ("lhr", 1)
    assert late.outcome.serving_colo == "lhr"
    assert lhr.events[0].flags & Flag.QUEUED_IN_COLO
    assert ams.server.report().resources[0].draining  # type: ignore[union-attr]
    ams.release.set()
    assert (await held[0]).payload == b"held"


async def test_a_server_that_leaves_alone_lets_its_callers_know(cluster: Cluster) -> None:
    (ams,) = await cluster.start("ams")
    held = ams.busy(1)
    await settled(held)
    waiting = asyncio.create_task(ams.server.infer(a_request(time_bounds=BOUNDS)))
    await settled([waiting])

    ams.server.hand_over()

    with pytest.raises(ServerLost):
        await waiting
    with pytest.raises(ServerLost):
        await ams.server.infer(a_request())


async def test_it_reports_at_once_when_it_is_full_and_when_no_more(cluster: Cluster) -> None:
    (ams,) = await cluster.start("ams")
    ams.server.report()
    ams.woken = 0
    held = ams.busy(2)
    await settled(held)
    assert ams.woken == 1

    assert ams.load.free == 0
    ams.release.set()
    await asyncio.gather(*held)

    assert ams.woken == 2


async def test_it_reports_at_once_when_its_first_instance_is_ready(cluster: Cluster) -> None:
    (ams,) = await cluster.start("ams")
    there = Instance(id="ams-i", model=MODEL, colo="ams", address="ams:1", state="ready")
    cluster.tell(replace(there, state="booting"))
    assert ams.load.free == 0
    ams.woken = 0

    cluster.tell(there)
    assert (ams.woken, ams.load.free) == (1, 1)

    cluster.tell(there)
    assert ams.woken == 1


async def until(condition: Any) -> None:
    async with asyncio.timeout(3):
        while not condition():
            await asyncio.sleep(0.01)


async def test_background_work_goes_to_the_emptiest_colo(cluster: Cluster) -> None:
    ams, lhr, sin = await cluster.start("ams", "lhr", "sin")
    cluster.full("lhr", permits=4, free=1)
    cluster.full("sin", permits=4, free=4)
    await settled(ams.busy(1))

    reply = await ams.server.infer(a_request(background=True))

    assert reply.outcome.serving_colo == "sin"
    with suppress(IndexError):
        assert sin.events[0].flags & Flag.BACKGROUND
    assert lhr.events == []
