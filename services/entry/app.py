"""Entry, wired: build it, listen, and leave without cutting anyone off."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from libs.common.bounds import (
    AtLeastOne,
    AtLeastZero,
    NotNegative,
    Seconds,
    SecondsOrNone,
    ShareOrNone,
)
from libs.common.clock import Clock, SystemClock
from libs.common.finetunes import FinetuneWrites
from libs.common.hops import HopTls, Transport, check_readable, hop_tls
from libs.common.lifecycle import background
from libs.common.limit_shares import Shares
from libs.common.otlp_settings import OtlpSettings
from libs.common.ports import Explains, Inference
from libs.common.rpc import CannotListen, grpc_server
from libs.common.spans import Spans
from libs.common.usage import UsageSource
from libs.common.world import World
from libs.common.world_map import EntryLoad, Report, Server
from libs.http1 import Limits, TlsFiles
from services.entry.access_log import AccessLog
from services.entry.admins import Admins
from services.entry.auth import Auth
from services.entry.cancelling import Cancelling
from services.entry.continuing import Bounds
from services.entry.fronts.cold import ColdRoutes
from services.entry.fronts.console import Bounds as ConsoleBounds
from services.entry.fronts.console import Console
from services.entry.fronts.cors import Cors
from services.entry.fronts.docs import Docs
from services.entry.fronts.finetunes import Bounds as FormBounds
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
from services.entry.tasks.media import FileLimits
from services.entry.traces import tell_ends, traced


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(OtlpSettings):
    """Entry's settings; addresses are host:port, port 0 takes a free one, no address no front."""

    name: str = "entry"
    colo: str = "local"
    http: str = "127.0.0.1:8080"
    grpc: str = "127.0.0.1:8081"
    max_body_bytes: AtLeastOne = 10 * 1024 * 1024
    max_choices: AtLeastOne = 16  # calls that one of OpenAI's requests may ask for
    max_image_bytes: AtLeastOne = 8 * 1024 * 1024  # of one picture, decoded
    max_audio_bytes: AtLeastOne = 10 * 1024 * 1024  # of one piece of sound, decoded
    max_header_bytes: AtLeastOne = 32 * 1024
    max_connections: AtLeastOne = 20_000
    header_s: Seconds = 10.0  # for a request's head to come
    body_s: Seconds = 30.0  # for its body
    idle_s: Seconds = 75.0  # a connection may stay open without a request
    write_s: Seconds = 60.0  # a client may read nothing of an answer
    first_part_ceiling_s: Seconds = 240.0
    prefix_secret: str = field(default="", repr=False)  # in the salt of prompts' hashes
    continue_times: AtLeastZero = 4  # one stream may break and go on elsewhere
    continue_bytes: AtLeastZero = 256 * 1024  # of text that is kept of a stream for that
    continue_burst: AtLeastZero = 256  # streams that go on at once, and how many more each second
    continue_rate: NotNegative = 16.0
    server_wait_s: SecondsOrNone = 10.0  # a call waits for a server to come back, if all are lost
    upload_idle_s: Seconds = 30.0  # nothing of an uploaded file may come
    upload_s: Seconds = 3600.0  # for all of it to come
    replay_s: Seconds = 600.0  # answers to POSTs of finetunes are kept for their idempotency keys
    replays: AtLeastOne = 10_000  # so many, of a few hundred bytes
    console: bool = True  # /console, a page that asks for a token
    console_s: Seconds = 1.0  # what consoles watch is sent so often
    console_streams: AtLeastOne = 64  # so many watch at once
    console_rows: AtLeastOne = 2000  # they are shown of each kind of thing
    docs: bool = True  # /docs and /openapi.json, which name the models that all may run
    cors_origins: str = "*"  # whose pages may call, comma-separated; empty: no others'
    cors_max_age_s: Seconds = 600.0  # a browser may keep what it was told
    # Those whose tokens with the scope `admin` see what all accounts do, comma-separated.
    admin_accounts: str = "0123456789abcdef0123456789abcdef"
    usage: str = ""  # where analytics answers; empty: `usage.sock` in the state folder
    usage_s: Seconds = 30.0  # it may take for that
    trace_share: ShareOrNone = 1.0  # of requests whose callers do not say whether to trace them
    access_log: str = ""  # a file that gets a line of JSON for each request; -: standard output
    drain_s: SecondsOrNone = 10.0
    tls_cert: Path | None = None  # with both, clients speak TLS with the HTTP and the gRPC port
    tls_key: Path | None = None
    reuse_port: bool = False  # several entries listen on the same ports
    transport: Transport = "lean"  # of hops to servers
    hop_cert: Path | None = None  # with all three, servers are reached over mutual TLS
    hop_key: Path | None = None
    hop_ca: Path | None = None

    @property
    def limits(self) -> Limits:
        """Return what an HTTP client may cost."""
        return Limits(
            max_header_bytes=self.max_header_bytes,
            max_body_bytes=self.max_body_bytes,
            max_connections=self.max_connections,
            header_s=self.header_s,
            body_s=self.body_s,
            idle_s=self.idle_s,
            write_s=self.write_s,
        )

    @property
    def cors(self) -> Cors:
        """Return which pages may call."""
        return Cors(self.cors_origins.split(","), max_age_s=self.cors_max_age_s)

    @property
    def files(self) -> FileLimits:
        """Return how large a picture or sound may be."""
        return FileLimits(image_bytes=self.max_image_bytes, audio_bytes=self.max_audio_bytes)

    @property
    def uploads(self) -> FormBounds:
        """Return how long the routes of finetunes wait for a client."""
        return FormBounds(
            body_s=self.body_s,
            idle_s=self.upload_idle_s,
            upload_s=self.upload_s,
            max_body_bytes=self.max_body_bytes,
            replay_s=self.replay_s,
            replays=self.replays,
        )

    @property
    def consoles(self) -> ConsoleBounds:
        """Return what consoles may cost."""
        return ConsoleBounds(
            every_s=self.console_s,
            write_s=self.write_s,
            streams=self.console_streams,
            rows=self.console_rows,
        )

    @property
    def continuing(self) -> Bounds:
        """Return what going on with broken streams may cost."""
        return Bounds(
            times=self.continue_times,
            keep_bytes=self.continue_bytes,
            burst=self.continue_burst,
            per_s=self.continue_rate,
        )

    @property
    def tls(self) -> TlsFiles | None:
        """Return the certificate for clients; CannotListen for half of one."""
        if self.tls_cert and self.tls_key:
            check_readable(self.tls_cert)
            check_readable(self.tls_key)
            return TlsFiles(cert=self.tls_cert, key=self.tls_key)
        if self.tls_cert or self.tls_key:
            raise CannotListen("tls_cert and tls_key belong together: expected both or none")
        return None

    @property
    def scheme(self) -> str:
        """What the HTTP port speaks."""
        return "https" if self.tls else "http"

    @property
    def hop_tls(self) -> HopTls | None:
        """Return the files of mutual TLS to servers, None where it is not set up."""
        return hop_tls(self.hop_cert, self.hop_key, self.hop_ca)


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
        self.draining = False
        self.health = Health()
        most = config.max_body_bytes
        self.bindings = Bindings(
            gateway=gateway, cancelling=cancelling, auth=auth, metrics=metrics, max_body_bytes=most
        )
        self.hot = HotRoutes(
            workers_ai=WorkersAi(gateway=gateway, auth=auth, rng=rng, max_body_bytes=most),
            openai=openai_work(
                gateway=gateway, auth=auth, clock=clock, most_bytes=most, choices=config.max_choices
            ),
            metrics=metrics,
            gateway=gateway,
            cors=config.cors,
        )
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
        ops = Ops(
            registry=metrics.registry,
            not_ready=self.not_ready,
            is_hot=lambda path: self.hot.find(path) is not None,
            cors=config.cors,
        )
        self.others = (
            *(self.console.routes() if config.console else ()),
            *(Docs(gateway=gateway, world=world).routes() if config.docs else ()),
            *Models(gateway=gateway, cold=cold).routes(),
            *Requests(gateway=gateway, cancelling=cancelling, auth=auth, metrics=metrics).routes(),
            *WorkersAiCatalog(gateway=gateway, cold=cold, clock=clock).routes(),
            *tuning.routes(),
            *UsageRoutes(source=usage, cold=cold, admins=admins, answer_s=config.usage_s).routes(),
            *ops.routes(),
        )  # the last one takes all that is left
        self.access_log = AccessLog(config.access_log) if config.access_log else None
        traces = traced(spans, entry=config.name, colo=config.colo, share=config.trace_share)
        tell_ends(metrics, log=self.access_log, traces=traces)
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
        auth=Auth(world=world, clock=clock),
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
                    credentials=credentials(tls.cert, tls.key) if tls else None,
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
