"""Entry, wired: build it, listen, and leave without cutting anyone off."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from libs.common.clock import Clock, SystemClock
from libs.common.ports import Inference
from libs.common.rpc import grpc_server
from libs.common.world import World
from libs.common.world_map import EntryLoad, Report, Server
from services.entry.auth import Auth
from services.entry.fronts.grpc import SERVICE, Bindings, register
from services.entry.fronts.health import Health
from services.entry.fronts.listening import http_server
from services.entry.fronts.openai import OpenAi
from services.entry.fronts.ops import Ops
from services.entry.fronts.reading import BodyReader
from services.entry.fronts.workers_ai import WorkersAi
from services.entry.gateway import Gateway
from services.entry.metrics import EntryMetrics
from services.entry.tasks.base import Templates


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Entry's settings; addresses are host:port, port 0 takes a free one, no address no front."""

    name: str = "entry"
    colo: str = "local"
    http: str = "127.0.0.1:8080"
    grpc: str = "127.0.0.1:8081"
    max_body_bytes: int = 10 * 1024 * 1024
    body_s: float = 30.0
    first_part_ceiling_s: float = 240.0
    drain_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The addresses that entry listens on; empty where it does not."""

    http: str = ""
    grpc: str = ""


class Entry:
    """The parts of an entry, and what it says of itself."""

    def __init__(
        self,
        *,
        config: Config,
        world: World,
        gateway: Gateway,
        auth: Auth,
        metrics: EntryMetrics,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.config = config
        self.gateway = gateway
        self.draining = False
        self.health = Health()
        self.bodies = BodyReader(seconds=config.body_s)
        self.bindings = Bindings(
            gateway=gateway, auth=auth, metrics=metrics, max_body_bytes=config.max_body_bytes
        )
        bodies = self.bodies
        self.fronts = (
            WorkersAi(gateway=gateway, auth=auth, bodies=bodies, metrics=metrics, rng=rng),
            OpenAi(gateway=gateway, auth=auth, bodies=bodies, metrics=metrics, clock=clock),
            Ops(registry=metrics.registry, not_ready=self.not_ready),
        )
        self._world = world
        self._boot_epoch = clock.unix_ms()

    def __repr__(self) -> str:
        return f"<Entry {self.config.name} draining={self.draining} {self.gateway!r}>"

    def not_ready(self) -> str:
        """Return why calls cannot be served, empty when they can."""
        if self.draining:
            return "draining"
        if not self._world.complete:
            return "nothing has come from control yet"
        return "" if self._world.table(Server) else "no server is known"

    def report(self) -> Report:
        """Say what was refused."""
        load = EntryLoad(
            name=self.config.name,
            colo=self.config.colo,
            boot_epoch=self._boot_epoch,
            refused=dict(self.gateway.refused),
        )
        return Report(kind="entry", name=load.name, colo=load.colo, resources=(load,))


def build(
    config: Config,
    *,
    world: World,
    connections: Callable[[str], Inference],
    metrics: EntryMetrics,
    templates: Templates,
    clock: Clock | None = None,
    rng: random.Random | None = None,
) -> Entry:
    """Wire an entry; nothing is opened."""
    clock, rng = clock or SystemClock(), rng or random.Random()
    gateway = Gateway(
        colo=config.colo,
        world=world,
        connections=connections,
        metrics=metrics,
        templates=templates,
        clock=clock,
        rng=rng,
        first_part_ceiling_s=config.first_part_ceiling_s,
    )
    return Entry(
        config=config,
        world=world,
        gateway=gateway,
        auth=Auth(world=world, clock=clock),
        metrics=metrics,
        clock=clock,
        rng=rng,
    )


@asynccontextmanager
async def serve(config: Config, entry: Entry) -> AsyncIterator[Bound]:
    """Listen while inside; on leaving, calls in flight get `drain_s`. Raises CannotListen."""
    routes = [route for front in entry.fronts for route in front.routes()]
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            http_server(
                config.http,
                routes=routes,
                max_body_bytes=config.max_body_bytes,
                drain_s=config.drain_s,
            )
        )
        rpc: tuple[str, ...] = ("",)
        if config.grpc:
            add = partial(register, bindings=entry.bindings, health=entry.health)
            rpc = await stack.enter_async_context(
                grpc_server(config.grpc, add=add, drain_s=config.drain_s)
            )
            await entry.health.serves(SERVICE)
        try:
            yield Bound(http=http.address, grpc=rpc[0])
        finally:
            entry.draining = True
            entry.bodies.leave()
            await entry.health.leave()
            await http.stop_accepting()  # before the gRPC port drains, not after
