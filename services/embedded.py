"""All services but analytics in one process, wired by plain calls where gRPC would be.

Events go through a Unix socket to analytics, in a process beside this one, and a real Triton runs
beside each node. The services are entered from the last that a request needs to the first, and
left in reverse: entry stops taking calls while all that they need is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from libs.common.backoff import Backoff
from libs.common.catalog import Model
from libs.common.catalog_files import Catalog
from libs.common.clock import SystemClock
from libs.common.config import ConfigFile, node_names
from libs.common.lifecycle import background
from libs.common.loop_lag import LoopLag
from libs.common.ports import Inference
from libs.common.world import World, follow
from libs.common.world_map import Colo
from services.beside import Beside
from services.certificate_expiry import CertificateExpiry
from services.control import app as control
from services.control.metrics import ControlMetrics
from services.control.service import Control
from services.entry import app as entry
from services.node import app as node
from services.node.metrics import NodeMetrics
from services.request_path import RequestPath
from services.scheduler import app as scheduler
from services.server import app as server
from services.server.metrics import ServerMetrics
from services.settings import check
from services.spans import SpanExporters

STORE_S = 60.0  # until all that control has stored is read
GRACE_S = 1.0  # all that control could wait for starts in this process, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line, and not the settings' file, decides."""

    root: Path  # what the catalog's paths are relative to
    catalog_dir: Path | None = None  # its folder, whose changes are taken up
    state_dir: Path
    colos: tuple[Colo, ...]
    http: str
    grpc: str
    token: str = ""
    analytics: Sequence[str]  # the command that runs it
    triton: str = ""  # host:port that serves every model, instead of Tritons of our own


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What is there once everything is up."""

    world: World
    http: str  # the address, with its scheme
    grpc: str
    console: str = ""  # the page's address


class Embedded:
    """The process's parts, and how each is made from the settings."""

    def __init__(self, options: Options, config: ConfigFile) -> None:
        self.options = options
        self.config = config
        self.clock = SystemClock()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.lag = LoopLag(self.registry)
        self.spans = SpanExporters(self.registry)
        self.certificates = CertificateExpiry(self.registry)
        self.server_metrics = ServerMetrics(self.registry)
        self.node_metrics = NodeMetrics(self.registry)
        self.world = World()
        # What each colo sees: it is the same, but for models that are staged in one of several.
        names = [colo.name for colo in options.colos]
        self.worlds = {name: World() if len(names) > 1 else self.world for name in names}
        self.servers: dict[str, Inference] = {}
        self.analytics = Beside(options.analytics)
        self.registry.register(self.analytics)

    async def enter(self, stack: AsyncExitStack, catalog: Catalog) -> Running:
        """Start everything on `stack`, in order."""
        await stack.enter_async_context(background(self.lag.run(), name="loop lag"))
        await stack.enter_async_context(self.analytics.running())
        plane = await self._control(stack, catalog)
        for colo in self.options.colos:
            await self._node(stack, plane, colo)
            await self._server(stack, plane, colo)
        running = await self._entry(stack, plane, self.options.colos[0])
        await self.analytics.ready()  # until then, events wait in the servers' spools
        return running

    async def _control(self, stack: AsyncExitStack, catalog: Catalog) -> Control:
        options = self.options
        config = self.config.settings(
            "control",
            control.Config,
            {"events": options.state_dir / "events.sock"},
            name="up",
            state_dir=options.state_dir,
            listen="",
            catalog_dir=options.catalog_dir,
            token=options.token,
            grace_s=GRACE_S,
        )
        settings = self.config.settings("scheduler", scheduler.Config, state_dir=options.state_dir)
        memory = scheduler.build_memory(settings, controls_url=config.store_url, clock=self.clock)
        metrics = ControlMetrics(self.registry)
        plane = control.build(
            config,
            catalog=(*options.colos, *catalog.models, *catalog.finetunes, *catalog.staged),
            clock=self.clock,
            explainer=memory.explaining,
            metrics=metrics,
        )
        serving = control.serve(config, plane, metrics, tick_s=settings.tick_s)
        await stack.enter_async_context(serving)
        await self._follow(stack, plane)
        spans = await self.spans.enter(stack, settings, service="scheduler", name=config.name)
        made = scheduler.build(
            settings,
            control=plane,
            world=self.world,
            memory=memory,
            registry=self.registry,
            clock=self.clock,
            spans=spans,
        )
        await stack.enter_async_context(scheduler.serve(made, memory))
        return plane

    async def _follow(self, stack: AsyncExitStack, plane: Control) -> None:
        worlds = {world: colo for colo, world in self.worlds.items()}
        worlds.setdefault(self.world, "")
        for world, colo in worlds.items():
            following = follow(plane, world, colo=colo, backoff=Backoff())
            await stack.enter_async_context(background(following, name=f"world {colo}"))
        async with asyncio.timeout(STORE_S):
            for world in worlds:
                await world.until(lambda world: world.complete)

    async def _node(self, stack: AsyncExitStack, plane: Control, colo: Colo) -> None:
        if self.options.triton:
            return
        for name in node_names(colo):
            config = self.config.settings(
                "node",
                node.Config,
                {"environment": self.options.root / ".triton"},
                name=name,
                colo=colo.name,
                state_dir=self.options.state_dir,
                root=self.options.root,
                detach=False,
            )
            made = node.build(
                config,
                world=self.worlds[colo.name],
                source=plane.finetunes,
                metrics=self.node_metrics,
                clock=self.clock,
                spans=await self.spans.enter(stack, config, service="node", name=name),
            )
            await stack.enter_async_context(node.serve(config, made, control=plane))

    async def _server(self, stack: AsyncExitStack, plane: Control, colo: Colo) -> None:
        config = self.config.settings(
            "server",
            server.Config,
            {"keys": self.options.state_dir / "keys"},
            name=f"{colo.name}-server",
            colo=colo.name,
        )
        self.certificates.watch(config)
        path = self._path(stack, plane, colo)
        address, local = await path.server(config, self.server_metrics, self.servers)
        self.servers[address] = local

    async def _entry(self, stack: AsyncExitStack, plane: Control, colo: Colo) -> Running:
        config = self.config.settings(
            "entry",
            entry.Config,
            name=f"{colo.name}-entry",
            colo=colo.name,
            http=self.options.http,
            grpc=self.options.grpc,
        )
        self.certificates.watch(config, https=config.tls_cert)
        path = self._path(stack, plane, colo)
        bound = await path.entry(config, local=self.servers)
        http = f"{bound.scheme}://{bound.http}"
        console = f"{http}/console" if config.console else ""
        return Running(world=self.world, http=http, grpc=bound.grpc, console=console)

    def _path(self, stack: AsyncExitStack, plane: Control, colo: Colo) -> RequestPath:
        return RequestPath(
            stack=stack,
            plane=plane,
            finetunes=plane.finetunes,
            world=self.worlds[colo.name],
            registry=self.registry,
            spans=self.spans,
            clock=self.clock,
            root=self.options.root,
            state_dir=self.options.state_dir,
        )


@asynccontextmanager
async def up(options: Options, config: ConfigFile, catalog: Catalog) -> AsyncIterator[Running]:
    """Run everything while inside. Problems: every bad setting, before anything is started."""
    check(config)
    if options.triton:
        models = tuple(_served_by(options.triton, model) for model in catalog.models)
        catalog = replace(catalog, models=models, staged=())  # one Triton serves one of each
    async with AsyncExitStack() as stack:
        yield await Embedded(options, config).enter(stack, catalog)


def _served_by(triton: str, model: Model) -> Model:
    """Return the model with a Triton that others run as its only endpoint, if it is of Triton."""
    if model.backend.kind != "triton":
        return model
    backend = replace(model.backend, external=(triton,), repository="", command=())
    backend = replace(backend, served_as=model.served_as)
    return replace(model, backend=backend)
