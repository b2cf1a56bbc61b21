"""Wires control together: the one place where its concrete classes meet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname

import grpc

from libs.common.bounds import AtLeastOne, AtLeastZero, FileSize, Seconds, SecondsOrNone
from libs.common.clock import Clock, SystemClock
from libs.common.databases import sqlite_url
from libs.common.events.sinks import SinkConfig, UnixSocketSink
from libs.common.events.spooling import SpoolingConfig
from libs.common.lifecycle import background
from libs.common.pb.control_pb2_grpc import add_ControlServiceServicer_to_server
from libs.common.pb.finetunes_pb2_grpc import add_FinetuneServiceServicer_to_server
from libs.common.rpc import grpc_server
from libs.common.staged_files import Staged
from libs.common.world_map import Resource
from services.control.asset_folder import AssetFolder
from services.control.catalog_folder import KEPT, CatalogFolder
from services.control.finetunes import Limits
from services.control.grpc_api import ControlServicer
from services.control.grpc_finetunes import FinetuneServicer
from services.control.lease import Lease
from services.control.metrics import ControlMetrics
from services.control.ports import Explainer
from services.control.service import Control, Settings
from services.control.store import SqlStore
from services.control.tokens import ensure_token


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Control's settings."""

    name: str = "scheduler"
    state_dir: Path = Path(".constellation")
    listen: str = "127.0.0.1:7100"  # empty: on control.sock alone
    store_url: str = ""  # empty: control.db in the state folder
    token: str = ""  # empty: made at the first start
    catalog_dir: Path | None = None  # the catalog's folder, whose changes are taken up
    catalog_s: Seconds = 1.0
    grace_s: SecondsOrNone = 5.0
    report_gone_s: SecondsOrNone = 5.0
    silent_s: Seconds = 5.0
    watch_bound: AtLeastOne = 1024
    share_keep_s: Seconds = 30.0  # an entry keeps its shares of limits without hearing of us
    spent_s: Seconds = 10.0  # between two writes of what accounts have used today
    drain_s: SecondsOrNone = 1.0
    lease_s: Seconds = 5.0  # after so long without a beat of the active one, a standby takes over
    lease_try_s: Seconds = 1.0
    assets: Path | None = None  # the folder of uploaded files; none: `assets` in the state folder
    finetunes_per_account: AtLeastZero = 30
    max_adapter_bytes: FileSize = 500_000_000
    uploads_at_once: AtLeastOne = 16
    keep_free_mb: AtLeastZero = 256  # of the disk that uploads must leave
    events: Path | None = None  # the collector's socket, to tell it of endpoints; none: nobody

    @property
    def holder(self) -> str:
        """Return who holds the lease: the same after a restart, and locked by the state folder."""
        return f"{self.name} on {gethostname()} in {self.state_dir.absolute()}"

    @property
    def finetune_limits(self) -> Limits:
        """Return what finetunes may cost."""
        return Limits(
            per_account=self.finetunes_per_account,
            largest_bytes=self.max_adapter_bytes,
            uploads_at_once=self.uploads_at_once,
        )


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
        ),
        limits=config.finetune_limits,
        explainer=explainer,
    )
    if metrics is not None:
        metrics.watch(control, store)
    return control


@asynccontextmanager
async def serve(
    config: Config, control: Control, metrics: ControlMetrics | None = None
) -> AsyncIterator[tuple[str, ...]]:
    """Run and listen while inside; yields the addresses, that of control.sock first."""
    token = ensure_token(config.state_dir, config.token)

    def add(server: grpc.aio.Server) -> None:
        add_ControlServiceServicer_to_server(ControlServicer(control), server)
        add_FinetuneServiceServicer_to_server(FinetuneServicer(control.finetunes), server)

    addresses = [f"unix:{config.state_dir.absolute()}/control.sock"]
    addresses += [config.listen] if config.listen else []
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(control.running(token=token))
        if config.catalog_dir is not None:
            catalog = CatalogFolder(config.catalog_dir, kept=config.state_dir / KEPT)
            following = catalog.follow(control, every_s=config.catalog_s)
            await stack.enter_async_context(background(following, name="catalog"))
        if config.events is not None:
            sink = await stack.enter_async_context(_sink(config, config.events))
            if metrics is not None:
                metrics.events.watch(sink)
            tracking = control.track_endpoints(sink, hostname=gethostname())
            await stack.enter_async_context(background(tracking, name="endpoints"))
        bound = await stack.enter_async_context(
            grpc_server(*addresses, add=add, drain_s=config.drain_s)
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
