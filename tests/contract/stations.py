"""Servers that reach one another, by plain calls or over real connections."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from libs.common.catalog import Permits
from libs.common.connections import Connections, over
from libs.common.envelope import TimeBounds
from libs.common.events.sinks import MemorySink
from libs.common.events.values import InferenceEvent
from libs.common.hops import listening
from libs.common.ports import Inference
from libs.common.world import World
from libs.common.world_map import Colo, Instance, Resource, Shard, ShardLoad, Update
from libs.eager import turns_of
from services.server.forwarding import Settings
from services.server.grpc_api import InferenceApi
from services.server.metrics import ServerMetrics
from services.server.service import InferenceServer
from tests.certificates import certified
from tests.fakes import MODEL, ScriptedBackend, a_model, a_request, a_server

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
        turns_of(asyncio.get_running_loop()).settle()
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


async def settled(calls: list[asyncio.Task[Any]]) -> None:
    """Let calls come to where they wait."""
    await asyncio.sleep(0.05)
    assert not any(call.done() for call in calls)
