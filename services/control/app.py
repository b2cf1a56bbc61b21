"""Wires control together: the one place where its concrete classes meet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from socket import gethostname

import grpc

from libs.common.clock import Clock, SystemClock
from libs.common.databases import sqlite_url
from libs.common.events.sinks import SinkConfig, UnixSocketSink
from libs.common.events.spooling import SpoolingConfig
from libs.common.grpcio_tls import server_credentials
from libs.common.hop_tls import warn_if_open
from libs.common.lifecycle import background
from libs.common.own_process import OwnProcess
from libs.common.pb.control_pb2_grpc import add_ControlServiceServicer_to_server
from libs.common.pb.finetunes_pb2_grpc import add_FinetuneServiceServicer_to_server
from libs.common.rpc import grpc_server
from libs.common.rpc_guard import Guard
from libs.common.staged_files import Staged
from libs.common.world_map import Resource
from services.control.asset_folder import AssetFolder
from services.control.callers import CALLERS
from services.control.catalog_folder import KEPT, CatalogFolder
from services.control.config import Config as Config
from services.control.grpc_api import ControlServicer
from services.control.grpc_finetunes import FinetuneServicer
from services.control.lease import Lease
from services.control.metrics import ControlMetrics
from services.control.ports import Explainer
from services.control.service import Control
from services.control.settings import Settings
from services.control.status import StatusOf
from services.control.store import SqlStore
from services.control.tokens import ensure_token


def build(
    config: Config,
    *,
    catalog: Sequence[Resource | Staged],
    clock: Clock | None = None,
    explainer: Explainer | None = None,
    metrics: ControlMetrics | None = None,
) -> Control:
    """Assemble control without opening anything; `catalog` has the colos, too."""
    store = SqlStore(config.store_url or sqlite_url(config.state_dir / "control.db"))
    clock = clock or SystemClock()
    control = Control(
        store=store,
        stays=store,
        lease=Lease(
            store,
            holder=config.holder,
            lease_s=config.lease_s,
            try_s=config.lease_try_s,
            clock=clock,
        ),
        assets=AssetFolder(
            config.assets or config.state_dir / "assets",
            keep_free_bytes=config.keep_free_mb * 2**20,
        ),
        catalog=catalog,
        clock=clock,
        settings=Settings(
            grace_s=config.grace_s,
            report_gone_s=config.report_gone_s,
            silent_s=config.silent_s,
            watch_bound=config.watch_bound,
            share_keep_s=config.share_keep_s,
            spent_s=config.spent_s,
            node_forget_s=config.node_forget_s,
        ),
        limits=config.finetune_limits,
        explainer=explainer,
    )
    if metrics is not None:
        metrics.watch(control, store)
    return control


@asynccontextmanager
async def serve(
    config: Config,
    control: Control,
    metrics: ControlMetrics | None = None,
    *,
    tick_s: float = 0.0,
) -> AsyncIterator[tuple[str, ...]]:
    """Run and listen while inside; yields the addresses, that of control.sock first.

    `tick_s` is that of the scheduler beside it; 0: there is none.
    """
    token = ensure_token(config.state_dir, config.token)
    sink: UnixSocketSink | None = None

    def add(server: grpc.aio.Server) -> None:
        process = OwnProcess(
            folder=config.state_dir, clock=SystemClock(), sink=sink, certificate=config.hop_cert
        )
        status = StatusOf(control, name=config.name, process=process, tick_s=tick_s)
        add_ControlServiceServicer_to_server(ControlServicer(control, status), server)
        add_FinetuneServiceServicer_to_server(FinetuneServicer(control.finetunes), server)

    addresses = [f"unix:{config.state_dir.absolute()}/control.sock"]
    addresses += [config.listen] if config.listen else []
    async with AsyncExitStack() as stack:
        first = None
        if config.catalog_dir is not None:
            catalog = CatalogFolder(config.catalog_dir, kept=config.state_dir / KEPT)
            first = partial(catalog.catch_up, control, every_s=config.catalog_s)
            # also while it stands by, to know the last good catalog when it takes over
            following = catalog.follow(control, every_s=config.catalog_s)
            await stack.enter_async_context(background(following, name="catalog"))
        await stack.enter_async_context(control.running(token=token, first=first))
        if config.events is not None:
            sink = await stack.enter_async_context(_sink(config, config.events))
            if metrics is not None:
                metrics.events.watch(sink)
            tracking = control.track_endpoints(sink, hostname=gethostname())
            await stack.enter_async_context(background(tracking, name="endpoints"))
        tls = config.hop_tls
        warn_if_open(config.listen, tls)
        bound = await stack.enter_async_context(
            grpc_server(
                *addresses,
                add=add,
                drain_s=config.drain_s,
                credentials=server_credentials(tls) if tls else None,
                guard=Guard(CALLERS, token=config.token_of_rpcs),
            )
        )
        try:
            yield bound
        finally:
            control.stop()  # streams would hold up the end otherwise


def _sink(config: Config, events: Path) -> UnixSocketSink:
    spooling = SpoolingConfig(folder=config.state_dir / "spool")
    return UnixSocketSink(
        events,
        server=config.name,
        boot_epoch=SystemClock().unix_ms(),
        config=SinkConfig(spooling=spooling),
    )
