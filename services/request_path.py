"""A server and an entry with all that stands beside them, for whichever process runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from libs.common.backoff import Backoff
from libs.common.clients.usage import UsageClient
from libs.common.clock import Clock
from libs.common.connections import Client, Connections, over
from libs.common.events.sinks import UnixSocketSink
from libs.common.finetunes import FinetuneWrites
from libs.common.lifecycle import background
from libs.common.own_process import OwnProcess, Waiting
from libs.common.ports import ControlPlane, Inference
from libs.common.usage import UsageSource
from libs.common.world import World, keep_reporting
from services.entry import app as entry
from services.entry.config import Config as EntryConfig
from services.entry.metrics import EntryMetrics
from services.server import app as server
from services.server.metrics import ServerMetrics
from services.spans import SpanExporters


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPath:
    """Starts them on a stack, over one copy of the world."""

    stack: AsyncExitStack
    plane: ControlPlane
    finetunes: FinetuneWrites
    world: World
    registry: CollectorRegistry
    spans: SpanExporters
    clock: Clock
    root: Path  # what the catalog's paths are relative to
    state_dir: Path

    async def server(
        self, config: server.Config, metrics: ServerMetrics, local: Mapping[str, Inference]
    ) -> tuple[str, Inference]:
        """Serve; return the address that the world knows, and the object behind it.

        `local` are the servers of this process, as for an entry.
        """
        connections = self._connections(over(config.transport, config.hop_tls), local)
        spans = await self.spans.enter(self.stack, config, service="server", name=config.name)
        sink = await self.stack.enter_async_context(
            UnixSocketSink(
                self.state_dir / "events.sock",
                server=config.name,
                boot_epoch=self.clock.unix_ms(),
                config=config.sink(self.state_dir / "spool"),
            )
        )
        metrics.events.watch(sink)
        made = server.build(
            config,
            world=self.world,
            connections=connections,
            sink=sink,
            metrics=metrics,
            clock=self.clock,
            spans=spans,
        )
        serving = server.serve(
            config, made, control=self.plane, process=self._process(config.hop_cert, sink)
        )
        await self.stack.enter_async_context(serving)
        return made.server.me.address, made.server

    async def entry(self, config: entry.Config, local: Mapping[str, Inference]) -> entry.Bound:
        """Listen; `local` are the servers of this process by address, all others are hops."""
        connections = self._connections(over(config.transport, config.hop_tls), local)
        spans = await self.spans.enter(self.stack, config, service="entry", name=config.name)
        made = entry.build(
            config,
            world=self.world,
            connections=connections,
            finetunes=self.finetunes,
            usage=await self._usage(config),
            explains=self.plane,
            metrics=EntryMetrics(self.registry),
            templates=lambda path: (self.root / path).read_text("utf-8"),
            clock=self.clock,
            spans=spans,
        )
        reporting = keep_reporting(
            self.plane,
            made.report,
            granted=made.granted,
            process=self._process(config.hop_cert),
            backoff=Backoff(),
        )
        await self.stack.enter_async_context(background(reporting, name="entry reports"))
        return await self.stack.enter_async_context(entry.serve(config, made))

    def _process(self, certificate: Path | None, sink: Waiting | None = None) -> OwnProcess:
        return OwnProcess(
            folder=self.state_dir,
            clock=self.clock,
            world=self.world,
            sink=sink,
            certificate=certificate,
        )

    async def _usage(self, config: EntryConfig) -> UsageSource:
        """Return what asks analytics; it connects with the first question."""
        here = f"unix:{self.state_dir / 'usage.sock'}"
        client = UsageClient(config.usage or here, caller=config.caller, timeout_s=config.usage_s)
        return await self.stack.enter_async_context(client)

    def _connections(
        self, connect: Callable[[str], Client], local: Mapping[str, Inference]
    ) -> Connections:
        """Return what finds servers, until the stack is left."""
        connections = Connections(world=self.world, connect=connect, local=local)
        self.stack.push_async_callback(connections.close)
        return connections
