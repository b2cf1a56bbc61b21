"""Wires a server: the one place where its concrete classes meet."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from libs.common.backoff import Backoff
from libs.common.catalog import Finetune
from libs.common.clock import Clock
from libs.common.hop_tls import warn_if_open
from libs.common.hops import connect, listening
from libs.common.lifecycle import background
from libs.common.ports import ControlPlane, EventSink, Inference
from libs.common.process import Process
from libs.common.spans import Spans
from libs.common.world import World, keep_reporting
from libs.common.world_map import Server
from libs.eager import turns_of
from services.server.backends.keys import Keys
from services.server.backends.openai_http import OpenAiBackend
from services.server.backends.triton import TritonBackend
from services.server.checking import Checker
from services.server.config import Config as Config
from services.server.grpc_api import CALLERS, InferenceApi
from services.server.health import Health
from services.server.killers import Killers
from services.server.losses import Losses
from services.server.metrics import ServerMetrics
from services.server.outcomes import Outcomes
from services.server.ports import Backend, ModelCheck
from services.server.probing import Prober
from services.server.sampling import Sampler
from services.server.service import InferenceServer
from services.server.traces import Traces

HAND_OVER_S = 2.0  # for control to give the shards to the others
GOODBYE_S = 1.0
TRITON_KEEPALIVE_S = 310.0  # a gRPC server of its defaults hangs up on who asks more often than 300


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A server and what works beside it."""

    server: InferenceServer
    prober: Prober
    sampler: Sampler
    checker: Checker
    triton: TritonBackend
    http: OpenAiBackend
    wake: asyncio.Event


def build(
    config: Config,
    *,
    world: World,
    connections: Callable[[str], Inference],
    sink: EventSink,
    metrics: ServerMetrics,
    clock: Clock,
    spans: Spans | None = None,
) -> App:
    """Assemble a server without opening anything; `spans` takes those of calls."""
    wake, rng = asyncio.Event(), random.Random()
    triton, http = _triton(config, world), _openai_http(config)
    backends: dict[str, Backend] = {"triton": triton, "openai_http": http}
    health = Health(config.outliers, metrics=metrics, clock=clock, rng=rng)
    server = InferenceServer(
        me=_me(config, clock),
        world=world,
        backends=backends,
        outcomes=Outcomes(
            colo=config.colo,
            sink=sink,
            metrics=metrics,
            health=health,
            clock=clock,
            traces=_traces(config, spans, clock),
        ),
        losses=_losses(config, metrics=metrics, health=health, clock=clock),
        clock=clock,
        rng=rng,
        preferences=config.preferences,
        connections=connections,
        forwarding=config.forwarding,
        kept=config.kept,
        wake=wake.set,
    )
    shards = server.shards
    world.listen(lambda _: triton.keep(shards.addresses()))
    checks: dict[str, ModelCheck] = {"triton": triton, "openai_http": http}
    return App(
        server=server,
        prober=Prober(
            config.probes, shards=shards, backends=backends, health=health, clock=clock, rng=rng
        ),
        sampler=Sampler(shards, health=health),
        checker=Checker(shards=shards, checks=checks, clock=clock, every_s=config.check_s),
        triton=triton,
        http=http,
        wake=wake,
    )


def _me(config: Config, clock: Clock) -> Server:
    return Server(
        name=config.name,
        colo=config.colo,
        address=config.advertise or config.listen or f"local:{config.name}",
        boot_epoch=clock.unix_ms(),
    )


def _triton(config: Config, world: World) -> TritonBackend:
    hop = partial(
        connect,
        transport=config.transport,
        keepalive_s=TRITON_KEEPALIVE_S,
        coalesce_s=config.coalesce_s,
        connect_s=config.connect_s,
    )
    return TritonBackend(hop, adapter_path=partial(_adapter_path, world))


def _openai_http(config: Config) -> OpenAiBackend:
    return OpenAiBackend(
        keys=Keys(config.keys),
        connections=config.http_connections,
        max_message_bytes=config.max_message_bytes,
        ca=config.http_ca,
    )


def _traces(config: Config, spans: Spans | None, clock: Clock) -> Traces | None:
    if spans is None:
        return None
    return Traces(spans, server=config.name, colo=config.colo, now=clock.now)


def _losses(config: Config, *, metrics: ServerMetrics, health: Health, clock: Clock) -> Losses:
    return Losses(
        health=health,
        killers=Killers(keep_s=config.killer_s, most=config.killers),
        retries=config.retries,
        metrics=metrics,
        clock=clock,
    )


def _adapter_path(world: World, finetune: str) -> str:
    """Return where the catalog has a finetune's adapter, empty for none."""
    found = world.table(Finetune).get(finetune)
    return found.adapter if found else ""


@asynccontextmanager
async def serve(
    config: Config,
    app: App,
    *,
    control: ControlPlane,
    process: Callable[[], Process] | None = None,
) -> AsyncIterator[str]:
    """Serve while inside, and yield the address; drain on the way out.

    `process` says how this process is, for control.
    """
    leave = asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.callback(turns_of(asyncio.get_running_loop()).settle)  # the last call's event
        stack.push_async_callback(app.triton.close)
        stack.push_async_callback(app.http.close)
        await stack.enter_async_context(background(app.prober.run(), name="prober"))
        await stack.enter_async_context(background(app.sampler.run(), name="sampler"))
        await stack.enter_async_context(background(app.checker.run(), name="checker"))
        address = app.server.me.address
        is_unix = config.listen.startswith("unix:")
        if config.listen:
            tls = config.hop_tls
            warn_if_open(config.listen, tls)
            address = await stack.enter_async_context(
                listening(
                    config.listen,
                    InferenceApi(app.server, over_unix_socket=is_unix).handlers(),
                    transport=config.transport,
                    drain_s=config.drain_s,
                    max_message_bytes=config.max_message_bytes,
                    tls=tls,
                    roles=CALLERS,
                )
            )
            app.server.listens_at(config.advertise or address)
        reporting = keep_reporting(
            control,
            app.server.report,
            every_s=config.report_s,
            wake=app.wake,
            leave=leave,
            process=process,
            backoff=Backoff(),
        )
        reports = await stack.enter_async_context(background(reporting, name="server reports"))
        yield address
        await _drain(config, app)
        leave.set()
        app.wake.set()
        await asyncio.wait([reports], timeout=GOODBYE_S)


async def _drain(config: Config, app: App) -> None:
    """Tell everyone and hand over, then wait for the calls in flight, for a while."""
    server = app.server
    server.drain()
    with suppress(TimeoutError):
        async with asyncio.timeout(min(HAND_OVER_S, config.drain_s)):
            while server.has_heirs and server.owns_shards:  # noqa: ASYNC110 - seldom
                await asyncio.sleep(0.02)
    server.hand_over()
    with suppress(TimeoutError):
        async with asyncio.timeout(config.drain_s):
            while server.in_flight:  # noqa: ASYNC110 - seldom, and not worth an event per call
                await asyncio.sleep(0.02)
