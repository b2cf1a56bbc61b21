"""One service in a process of its own, with gRPC to the others: as a cluster runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from libs.common.backoff import Backoff
from libs.common.catalog_files import Catalog
from libs.common.clients.caller import Caller
from libs.common.clients.control import ControlClient
from libs.common.clock import SystemClock
from libs.common.config import ConfigFile
from libs.common.lifecycle import background
from libs.common.loop_lag import LoopLag
from libs.common.messages import SnapshotOnDisk
from libs.common.world import World, follow
from libs.common.world_map import Colo
from services.analytics import app as analytics
from services.certificate_expiry import CertificateExpiry
from services.control import app as control
from services.entry import app as entry
from services.node import app as node
from services.node.metrics import NodeMetrics
from services.ops_port import OpsPort
from services.request_path import RequestPath
from services.scheduler import app as scheduler
from services.server import app as server
from services.server.metrics import ServerMetrics
from services.spans import SpanExporters


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says of the process; `flags` are the service's own settings."""

    root: Path
    state_dir: Path
    control: str  # address of control: host:port or unix:/path
    metrics: str  # host:port of the ops port, or empty
    flags: dict[str, Any]


class Standalone:
    """What every service's process has: a registry, a clock, and a copy of the world."""

    def __init__(self, options: Options, config: ConfigFile) -> None:
        self.options = options
        self.config = config
        self.clock = SystemClock()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.lag = LoopLag(self.registry)
        self.ops = OpsPort(self.registry, stuck_s=self.lag.stuck_s)
        self.spans = SpanExporters(self.registry)
        self.certificates = CertificateExpiry(self.registry)
        self.world = World()
        self.metrics = ""  # where they are, once they are

    @asynccontextmanager
    async def ready_inside(self, app: AbstractAsyncContextManager[str]) -> AsyncIterator[str]:
        """Enter one of the services below, which is ready while it is inside; yield where it is."""
        async with app as where:
            self.ops.is_ready = True
            try:
                yield f"{where}, metrics {self.metrics}" if self.metrics else where
            finally:
                self.ops.is_ready = False

    @asynccontextmanager
    async def entry(self) -> AsyncIterator[str]:
        """Run an entry."""
        async with AsyncExitStack() as stack:
            config = self.config.settings("entry", entry.Config, **self.options.flags)
            self.certificates.watch(config, https=config.tls_cert)
            plane = await self._plane(stack, "entry", colo=config.colo, caller=config.caller)
            bound = await self._path(stack, plane).entry(config, local={})
            yield f"{bound.scheme} {bound.http}, grpc {bound.grpc}"

    @asynccontextmanager
    async def server(self) -> AsyncIterator[str]:
        """Run a server."""
        async with AsyncExitStack() as stack:
            config = self.config.settings(
                "server",
                server.Config,
                {"listen": "127.0.0.1:0", "keys": self.options.state_dir / "keys"},
                **self.options.flags,
            )
            self.certificates.watch(config)
            plane = await self._plane(stack, "server", colo=config.colo, caller=config.caller)
            metrics = ServerMetrics(self.registry)
            address, _ = await self._path(stack, plane).server(config, metrics, {})
            yield address

    @asynccontextmanager
    async def edge(self) -> AsyncIterator[str]:
        """Run an entry and a server in one process: no hop between them, and nothing to encode."""
        async with AsyncExitStack() as stack:
            flags = dict(self.options.flags)
            listen = {name: flags.pop(name, None) for name in ("listen", "advertise")}
            config = self.config.settings("entry", entry.Config, **flags)
            self.certificates.watch(config, https=config.tls_cert)
            plane = await self._plane(stack, "edge", colo=config.colo, caller=config.caller)
            settings = self.config.settings(
                "server",
                server.Config,
                {"keys": self.options.state_dir / "keys"},
                name=f"{config.name}-server",
                colo=config.colo,
                transport=flags.get("transport"),
                **listen,
            )
            self.certificates.watch(settings)
            path = self._path(stack, plane)
            address, local = await path.server(settings, ServerMetrics(self.registry), {})
            bound = await path.entry(config, local={address: local})
            yield f"{bound.scheme} {bound.http}, grpc {bound.grpc}, server {address}"

    def _path(self, stack: AsyncExitStack, plane: ControlClient) -> RequestPath:
        return RequestPath(
            stack=stack,
            plane=plane,
            finetunes=plane.finetunes,
            world=self.world,
            registry=self.registry,
            spans=self.spans,
            clock=self.clock,
            root=self.options.root,
            state_dir=self.options.state_dir,
        )

    @asynccontextmanager
    async def node(self) -> AsyncIterator[str]:
        """Run a node's agent; its Tritons outlive it, unless `detach` is set to false."""
        async with AsyncExitStack() as stack:
            config = self.config.settings(
                "node",
                node.Config,
                {"environment": self.options.root / ".triton", "detach": True},
                state_dir=self.options.state_dir,
                root=self.options.root,
                **self.options.flags,
            )
            self.certificates.watch(config)
            plane = await self._plane(stack, "node", colo=config.colo, caller=config.caller)
            made = node.build(
                config,
                world=self.world,
                source=plane.finetunes,
                metrics=NodeMetrics(self.registry),
                clock=self.clock,
                spans=await self.spans.enter(stack, config, service="node", name=config.name),
            )
            serving = node.serve(config, made, control=plane, drains=True)
            await stack.enter_async_context(serving)
            yield config.name

    @asynccontextmanager
    async def scheduler(self, catalog: Catalog, colos: tuple[Colo, ...]) -> AsyncIterator[str]:
        """Run control and the scheduler."""
        async with AsyncExitStack() as stack:
            await self._metrics(stack)
            config = self.config.settings(
                "control", control.Config, state_dir=self.options.state_dir, **self.options.flags
            )
            self.certificates.watch(config)
            settings = self.config.settings(
                "scheduler", scheduler.Config, state_dir=self.options.state_dir
            )
            made = scheduler.build_process(
                settings,
                config,
                catalog=(*colos, *catalog.models, *catalog.finetunes, *catalog.staged),
                registry=self.registry,
                clock=self.clock,
                spans=await self.spans.enter(
                    stack, settings, service="scheduler", name=config.name
                ),
            )
            bound = await stack.enter_async_context(scheduler.serve_process(config, made))
            yield ", ".join(bound)

    @asynccontextmanager
    async def analytics(self) -> AsyncIterator[str]:
        """Run the collector and the usage service."""
        async with AsyncExitStack() as stack:
            await self._metrics(stack)
            config = self.config.settings(
                "analytics",
                analytics.Config,
                state_dir=self.options.state_dir,
                **self.options.flags,
            )
            self.certificates.watch(config)
            made = analytics.build(config, registry=self.registry, clock=self.clock)
            bound = await stack.enter_async_context(analytics.serve(config, made))
            yield ", ".join(bound)

    async def _plane(
        self, stack: AsyncExitStack, service: str, *, colo: str, caller: Caller
    ) -> ControlClient:
        """Follow control, from the last snapshot on disk where it is away."""
        await self._metrics(stack)
        client = ControlClient(self.options.control, caller=caller)
        plane = await stack.enter_async_context(client)
        name = self.options.flags.get("name") or service
        disk = SnapshotOnDisk(self.options.state_dir / f"{service}-{name}.snapshot")
        following = follow(plane, self.world, colo=colo, disk=disk, backoff=Backoff())
        await stack.enter_async_context(background(following, name="world"))
        return plane

    async def _metrics(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(background(self.lag.run(), name="loop lag"))
        if self.options.metrics:
            where = stack.enter_context(self.ops.listening(self.options.metrics))
            self.metrics = f"{where}/metrics"
