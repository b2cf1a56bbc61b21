"""Entry, wired: build it, listen, and leave without cutting anyone off."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from libs.common.clock import Clock, SystemClock
from libs.common.finetunes import FinetuneWrites
from libs.common.lifecycle import background
from libs.common.limit_shares import Shares
from libs.common.ports import Explains, Inference
from libs.common.rpc import grpc_server
from libs.common.spans import Spans
from libs.common.usage import UsageSource
from libs.common.world import World
from libs.common.world_map import EntryLoad, Report, Server
from services.entry.access_log import AccessLog
from services.entry.admins import Admins
from services.entry.auth import Auth
from services.entry.cancelling import Cancelling
from services.entry.clients import Clients
from services.entry.config import Config as Config
from services.entry.fronts.cold import ColdRoutes
from services.entry.fronts.console import Console
from services.entry.fronts.crowds import counting
from services.entry.fronts.docs import Docs
from services.entry.fronts.finetunes import Finetunes
from services.entry.fronts.grpc import SERVICE, Bindings, credentials, register
from services.entry.fronts.health import Health
from services.entry.fronts.hot import HotRoutes
from services.entry.fronts.listening import http_server, listen
from services.entry.fronts.models import Models
from services.entry.fronts.openai_work import openai_work
from services.entry.fronts.ops import Ops
from services.entry.fronts.requests import Requests
from services.entry.fronts.usage import UsageRoutes
from services.entry.fronts.workers_ai import WorkersAi
from services.entry.fronts.workers_ai_catalog import WorkersAiCatalog
from services.entry.gateway import Gateway
from services.entry.limiter import Limiter
from services.entry.metrics import EntryMetrics
from services.entry.tasks.base import Templates
from services.entry.traces import tell_ends, traced

BESIDE_BODY_BYTES: Final = 1024 * 1024  # of a message: what is larger is refused unread


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The addresses that entry listens on; empty where it does not."""

    http: str = ""
    grpc: str = ""
    scheme: str = "http"


class Entry:
    """The parts of an entry, and what it says of itself."""

    def __init__(
        self,
        *,
        config: Config,
        world: World,
        gateway: Gateway,
        limiter: Limiter,
        cancelling: Cancelling,
        auth: Auth,
        clients: Clients,
        finetunes: FinetuneWrites,
        usage: UsageSource,
        explains: Explains,
        metrics: EntryMetrics,
        clock: Clock,
        rng: random.Random,
        spans: Spans | None,
    ) -> None:
        self.config = config
        self.gateway = gateway
        self.limiter = limiter
        self.clients = clients
        self.draining = False
        self.health = Health()
        self.bindings = self._bindings(auth, cancelling, metrics)
        self.hot = self._hot(auth, metrics, clock, rng)
        self.before_others = counting(clients, gateway=gateway, metrics=metrics)
        cold = ColdRoutes(gateway=gateway, auth=auth, metrics=metrics)
        tuning = Finetunes(
            writes=finetunes, world=world, gateway=gateway, cold=cold, bounds=config.uploads
        )
        admins = Admins(config.admin_accounts)
        self.console = Console(
            world=world,
            gateway=gateway,
            auth=auth,
            admins=admins,
            explains=explains,
            cold=cold,
            metrics=metrics,
            clock=clock,
            bounds=config.consoles,
        )
        self.others = (
            *(self.console.routes() if config.console else ()),
            *(Docs(gateway=gateway, world=world).routes() if config.docs else ()),
            *Models(gateway=gateway, cold=cold).routes(),
            *Requests(gateway=gateway, cancelling=cancelling, auth=auth, metrics=metrics).routes(),
            *WorkersAiCatalog(gateway=gateway, cold=cold, clock=clock).routes(),
            *tuning.routes(),
            *UsageRoutes(source=usage, cold=cold, admins=admins, answer_s=config.usage_s).routes(),
            *self._ops(metrics).routes(),
        )  # the last one takes all that is left
        self.access_log = AccessLog(config.access_log) if config.access_log else None
        traces = traced(spans, entry=config.name, colo=config.colo, share=config.trace_share)
        tell_ends(metrics, log=self.access_log, traces=traces)
        self._world = world
        self._boot_epoch = clock.unix_ms()

    def _bindings(self, auth: Auth, cancelling: Cancelling, metrics: EntryMetrics) -> Bindings:
        return Bindings(
            gateway=self.gateway,
            cancelling=cancelling,
            auth=auth,
            clients=self.clients,
            metrics=metrics,
            max_body_bytes=self.config.max_body_bytes,
        )

    def _hot(
        self, auth: Auth, metrics: EntryMetrics, clock: Clock, rng: random.Random
    ) -> HotRoutes:
        gateway, config = self.gateway, self.config
        most, choices = config.max_body_bytes, config.max_choices
        return HotRoutes(
            workers_ai=WorkersAi(gateway=gateway, auth=auth, rng=rng, max_body_bytes=most),
            openai=openai_work(
                gateway=gateway, auth=auth, clock=clock, most_bytes=most, choices=choices
            ),
            metrics=metrics,
            gateway=gateway,
            cors=config.cors,
            clients=self.clients,
        )

    def _ops(self, metrics: EntryMetrics) -> Ops:
        return Ops(
            registry=metrics.registry,
            not_ready=self.not_ready,
            is_hot=lambda path: self.hot.find(path) is not None,
            shows_metrics=self.config.metrics,
            cors=self.config.cors,
        )

    def __repr__(self) -> str:
        return f"<Entry {self.config.name} draining={self.draining} {self.gateway!r}>"

    def not_ready(self) -> str:
        """Return why calls cannot be served, empty when they can."""
        if self.draining:
            return "draining"
        if not self._world.complete:
            return "nothing has come from control yet"
        if self.limiter.waits():
            return "other entries have all of accounts' limits yet"
        return "" if self._world.table(Server) else "no server is known"

    def granted(self, shares: Shares) -> None:
        """Act on control's word."""
        self.limiter.granted(shares)
        self.console.heard()

    def report(self) -> Report:
        """Say what was refused, and what was asked for of accounts' limits."""
        load = EntryLoad(
            name=self.config.name,
            colo=self.config.colo,
            boot_epoch=self._boot_epoch,
            refused=dict(self.gateway.refused),
        )
        return Report(
            kind="entry",
            name=load.name,
            colo=load.colo,
            resources=(load,),
            use=self.limiter.use(),
        )


def build(
    config: Config,
    *,
    world: World,
    connections: Callable[[str], Inference],
    finetunes: FinetuneWrites,
    usage: UsageSource,
    explains: Explains,
    metrics: EntryMetrics,
    templates: Templates,
    clock: Clock | None = None,
    rng: random.Random | None = None,
    spans: Spans | None = None,
) -> Entry:
    """Wire an entry; nothing is opened. `spans` takes those of requests."""
    clock, rng = clock or SystemClock(), rng or random.Random()
    clients = Clients(config.clients, clock)
    limiter = Limiter(name=config.name, world=world, clock=clock)
    gateway = Gateway(
        colo=config.colo,
        world=world,
        connections=connections,
        metrics=metrics,
        templates=templates,
        clock=clock,
        rng=rng,
        first_part_ceiling_s=config.first_part_ceiling_s,
        prefix_secret=config.prefix_secret,
        continuing=config.continuing,
        server_wait_s=config.server_wait_s,
        files=config.files,
        limited=limiter.limited,
    )
    return Entry(
        config=config,
        world=world,
        gateway=gateway,
        limiter=limiter,
        cancelling=Cancelling(world=world, connections=connections),
        auth=Auth(world=world, clock=clock, clients=clients),
        clients=clients,
        finetunes=finetunes,
        usage=usage,
        explains=explains,
        metrics=metrics,
        clock=clock,
        rng=rng,
        spans=spans,
    )


@asynccontextmanager
async def serve(config: Config, entry: Entry) -> AsyncIterator[Bound]:
    """Listen while inside; on leaving, calls in flight get `drain_s`. Raises CannotListen."""
    tls = config.tls
    async with AsyncExitStack() as stack:
        if entry.access_log is not None:
            await stack.enter_async_context(background(entry.access_log.run(), name="access log"))
        http = await stack.enter_async_context(
            http_server(
                hot=entry.hot,
                others=entry.others,
                limits=config.limits,
                drain_s=config.drain_s,
                cors=config.cors,
                middlewares=entry.before_others,
                holder=entry.clients.holder,
            )
        )
        address = ""
        if config.http:
            address = await listen(http, config.http, tls=tls, reuse_port=config.reuse_port)
        rpc: tuple[str, ...] = ("",)
        if config.grpc:
            add = partial(register, bindings=entry.bindings, health=entry.health)
            rpc = await stack.enter_async_context(
                grpc_server(
                    config.grpc,
                    add=add,
                    drain_s=config.drain_s,
                    max_received_bytes=config.max_body_bytes + BESIDE_BODY_BYTES,
                    credentials=credentials(tls) if tls else None,
                    reuse_port=config.reuse_port,
                )
            )
            await entry.health.serves(SERVICE)
        try:
            yield Bound(http=address, grpc=rpc[0], scheme=config.scheme)
        finally:
            entry.draining = True
            entry.console.leave()
            await entry.health.leave()
            await http.stop_accepting()  # before the gRPC port drains, not after
