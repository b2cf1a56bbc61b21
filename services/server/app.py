"""Wires a server: the one place where its concrete classes meet."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from libs.common.backoff import Backoff
from libs.common.bounds import (
    AtLeastOne,
    AtLeastZero,
    Factor,
    FewOrNone,
    MessageBytes,
    NotNegative,
    Positive,
    Seconds,
    SecondsOrNone,
    Share,
    ShareOrNone,
)
from libs.common.catalog import Finetune
from libs.common.clock import Clock
from libs.common.events.sinks import SinkConfig
from libs.common.events.spool import SpoolConfig
from libs.common.events.spooling import SpoolingConfig
from libs.common.hops import HopTls, Transport, connect, hop_tls, listening
from libs.common.lifecycle import background
from libs.common.otlp_settings import OtlpSettings
from libs.common.ports import ControlPlane, EventSink, Inference
from libs.common.spans import Spans
from libs.common.world import World, keep_reporting
from libs.common.world_map import Server
from services.server.backends.keys import Keys
from services.server.backends.openai_http import OpenAiBackend
from services.server.backends.triton import TritonBackend
from services.server.checking import Checker
from services.server.forwarding import Settings
from services.server.grpc_api import InferenceApi
from services.server.health import Health
from services.server.idempotency import KeptLimits
from services.server.killers import Killers
from services.server.losses import Losses
from services.server.metrics import ServerMetrics
from services.server.outcomes import Outcomes
from services.server.outliers import Limits
from services.server.ports import Backend, ModelCheck
from services.server.preferences import Preferences
from services.server.probing import ProbeLimits, Prober
from services.server.retries import RetryLimits
from services.server.sampling import Sampler
from services.server.service import InferenceServer
from services.server.traces import Traces

HAND_OVER_S = 2.0  # for control to give the shards to the others
GOODBYE_S = 1.0
TRITON_KEEPALIVE_S = 310.0  # a gRPC server of its defaults hangs up on who asks more often than 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(OtlpSettings):
    """Settings of a server."""

    name: str
    colo: str
    listen: str = ""  # host:port or unix:/path; empty: only within this process
    advertise: str = ""  # where others reach it; empty: where it listens
    connect_s: Seconds = 1.0
    probe_s: Seconds = 1.0
    probe_timeout_s: Seconds = 1.0
    probe_failures: AtLeastOne = 2
    probe_idle_s: Seconds = 10.0
    probes_at_once: AtLeastOne = 64
    failures_in_row: AtLeastOne = 5
    error_share: Share = 0.5
    error_calls: AtLeastOne = 20
    unanswered_s: SecondsOrNone = 1.0
    slow_factor: Positive = 5.0
    slow_calls: AtLeastOne = 10
    slow_s: SecondsOrNone = 0.1
    window_s: Seconds = 30.0
    backoff_s: Seconds = 0.25
    outlier_backoff_s: Seconds = 5.0
    longest_backoff_s: Seconds = 10.0
    trials: AtLeastOne = 3
    panic_share: ShareOrNone = 0.25
    retry_share: ShareOrNone = 0.2
    retries_per_s: NotNegative = 3.0
    killer_s: Seconds = 600.0
    killers: AtLeastOne = 1024
    idempotency_s: SecondsOrNone = 600.0  # an answer is kept for its key
    idempotency_bytes: AtLeastOne = 64 * 1024 * 1024  # all that are kept
    idempotency_answer_bytes: AtLeastOne = 4 * 1024 * 1024  # a larger one is not kept
    check_s: Seconds = 60.0  # between two looks whether an endpoint's model fits the catalog
    report_s: Seconds = 1.0
    drain_s: SecondsOrNone = 10.0
    forward_margin_s: SecondsOrNone = 0.05  # a call that could wait here must gain so much
    max_hops: FewOrNone = 2  # of a call, between colos
    events_flush_s: Seconds = 0.01  # of events in one batch: what a kill -9 loses
    events_slots: AtLeastOne = 64  # batches that are sent and not acknowledged
    events_pending: AtLeastOne = 4096  # events that wait for room in the slots or the spool
    events_watchdog_s: Seconds = 10.0  # a connection without acknowledgements is opened anew
    events_close_s: Seconds = 5.0  # for the last acknowledgements, on leaving
    events_spool_mb: AtLeastZero = 1024  # of what is not acknowledged, on disk; 0: no spool
    events_sync_s: Seconds = 1.0  # what waits for longer is brought to the disk
    events_adopt_s: Seconds = 60.0  # between two looks for spools of servers that are gone
    max_message_bytes: MessageBytes = 64 * 1024 * 1024
    coalesce_s: SecondsOrNone = 0.001  # between two reads and writes of streams, where many come
    http_connections: AtLeastOne = 512  # to each address of an OpenAI-compatible backend
    http_ca: Path | None = None  # PEM: whom https trusts in such a backend; none: the system's
    keys: Path | None = None  # a folder: each file a bearer key, which the catalog names
    transport: Transport = "lean"  # of hops from entries, and to Triton
    weight_free: NotNegative = 1.0  # scores by which an endpoint is chosen
    weight_latency: NotNegative = 0.25
    weight_adapter: NotNegative = 4.0
    weight_session: NotNegative = 2.0
    weight_prefix: NotNegative = 1.0
    load_bound: Factor = 1.25  # times the mean fill: no affinity beyond it
    spare_fill: ShareOrNone = 0.25  # ... but up to this fill always
    latency_memory_s: Seconds = 10.0  # after which a latency counts half
    sessions_kept: AtLeastOne = 4096  # of each endpoint, those used last
    prefixes_kept: AtLeastOne = 8192
    hop_cert: Path | None = None  # with all three, entries must show a certificate of this CA
    hop_key: Path | None = None
    hop_ca: Path | None = None

    @property
    def outliers(self) -> Limits:
        """Return from where on an endpoint is an outlier."""
        return Limits(**{each.name: getattr(self, each.name) for each in fields(Limits)})

    @property
    def probes(self) -> ProbeLimits:
        """Return how often endpoints are probed."""
        return ProbeLimits(
            every_s=self.probe_s,
            timeout_s=self.probe_timeout_s,
            idle_s=self.probe_idle_s,
            at_once=self.probes_at_once,
        )

    @property
    def retries(self) -> RetryLimits:
        """Return what the budget of retries is made of."""
        return RetryLimits(share=self.retry_share, per_s=self.retries_per_s)

    @property
    def forwarding(self) -> Settings:
        """Return when calls are forwarded."""
        return Settings(margin_ms=1000 * self.forward_margin_s, max_hops=self.max_hops)

    def sink(self, spool_dir: Path) -> SinkConfig:
        """Return the bounds of events on their way, with their spool in a folder."""
        spooling = SpoolingConfig(
            folder=spool_dir,
            bounds=SpoolConfig(most_bytes=self.events_spool_mb << 20),
            sync_seconds=self.events_sync_s,
            adopt_seconds=self.events_adopt_s,
        )
        return SinkConfig(
            flush_seconds=self.events_flush_s,
            slots=self.events_slots,
            pending_events=self.events_pending,
            watchdog_seconds=self.events_watchdog_s,
            close_seconds=self.events_close_s,
            spooling=spooling if self.events_spool_mb else None,
        )

    @property
    def kept(self) -> KeptLimits:
        """Return what keeping answers for their keys may cost."""
        return KeptLimits(
            keep_s=self.idempotency_s,
            total_bytes=self.idempotency_bytes,
            answer_bytes=self.idempotency_answer_bytes,
        )

    @property
    def hop_tls(self) -> HopTls | None:
        """Return the files of mutual TLS, None where it is not set up."""
        return hop_tls(self.hop_cert, self.hop_key, self.hop_ca)

    @property
    def preferences(self) -> Preferences:
        """Return what counts how much when an endpoint is chosen."""
        return Preferences(
            free=self.weight_free,
            latency=self.weight_latency,
            adapter=self.weight_adapter,
            session=self.weight_session,
            prefix=self.weight_prefix,
            bound=self.load_bound,
            spare=self.spare_fill,
            latency_s=self.latency_memory_s,
            sessions=self.sessions_kept,
            prefixes=self.prefixes_kept,
        )


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
async def serve(config: Config, app: App, *, control: ControlPlane) -> AsyncIterator[str]:
    """Serve while inside, and yield the address; drain on the way out."""
    leave = asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(app.triton.close)
        stack.push_async_callback(app.http.close)
        await stack.enter_async_context(background(app.prober.run(), name="prober"))
        await stack.enter_async_context(background(app.sampler.run(), name="sampler"))
        await stack.enter_async_context(background(app.checker.run(), name="checker"))
        address = app.server.me.address
        is_unix = config.listen.startswith("unix:")
        if config.listen:
            address = await stack.enter_async_context(
                listening(
                    config.listen,
                    InferenceApi(app.server, over_unix_socket=is_unix).handlers(),
                    transport=config.transport,
                    drain_s=config.drain_s,
                    max_message_bytes=config.max_message_bytes,
                    coalesce_s=config.coalesce_s,
                    tls=config.hop_tls,
                )
            )
            app.server.listens_at(config.advertise or address)
        reporting = keep_reporting(
            control,
            app.server.report,
            every_s=config.report_s,
            wake=app.wake,
            leave=leave,
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
