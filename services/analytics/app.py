"""Wires analytics together: the one place where its concrete classes meet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from libs.common.bounds import AtLeastOne, NotNegative, Seconds, SecondsOrNone
from libs.common.clock import Clock, SystemClock
from libs.common.pb.usage_pb2_grpc import add_UsageServiceServicer_to_server
from libs.common.rpc import grpc_server
from services.analytics.batcher import BatchPolicy
from services.analytics.collector import Collector, CollectorLimits
from services.analytics.events_api import collecting
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.stores.duckdb import DuckDBStore
from services.analytics.storing import Storing
from services.analytics.usage import Usage
from services.analytics.usage_api import UsageServicer


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Where analytics keeps and answers, and its bounds."""

    state_dir: Path
    # host:port for UsageService besides its Unix socket; empty: none.
    listen: str = ""
    # Bounds of one write to the store, and of what waits for one.
    write_events: AtLeastOne = 5_000
    write_age_seconds: SecondsOrNone = 0.2
    waiting_events: AtLeastOne = 50_000
    # Bounds of the sinks' connections.
    connections: AtLeastOne = 256
    batch_bytes: AtLeastOne = 4 << 20
    batch_events: AtLeastOne = 4096
    read_seconds: Seconds = 10.0
    # Bounds of the store.
    memory_mb: AtLeastOne = 512
    threads: AtLeastOne = 2
    # Bounds of a question.
    flush_seconds: Seconds = 5.0
    query_seconds: Seconds = 30.0
    max_rows: AtLeastOne = 10_000
    # What neurons cost, as usage tells it; Cloudflare's price.
    usd_per_1000_neurons: NotNegative = 0.011
    # For what has come in to be stored, on leaving.
    drain_seconds: SecondsOrNone = 5.0

    @property
    def events_socket(self) -> Path:
        """Return where sinks connect."""
        return self.state_dir / "events.sock"

    @property
    def usage_socket(self) -> Path:
        """Return where UsageService answers."""
        return self.state_dir / "usage.sock"

    @property
    def store_file(self) -> Path:
        """Return where the events are kept."""
        return self.state_dir / "events.duckdb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Analytics:
    """The parts, not yet open."""

    store: DuckDBStore
    storing: Storing
    collector: Collector
    usage: Usage


def build(config: Config, *, registry: CollectorRegistry, clock: Clock | None = None) -> Analytics:
    """Assemble analytics without opening anything."""
    store = DuckDBStore(
        config.store_file,
        memory_mb=config.memory_mb,
        threads=config.threads,
        query_seconds=config.query_seconds,
    )
    policy = BatchPolicy(
        write_events=config.write_events,
        write_age_seconds=config.write_age_seconds,
        waiting_events=config.waiting_events,
    )
    limits = CollectorLimits(
        connections=config.connections,
        batch_bytes=config.batch_bytes,
        batch_events=config.batch_events,
        read_seconds=config.read_seconds,
    )
    storing = Storing(store=store, clock=clock or SystemClock(), policy=policy)
    collector = Collector(storing=storing, limits=limits)
    usage = Usage(
        store=store,
        flush=storing.flush,
        flush_seconds=config.flush_seconds,
        max_rows=config.max_rows,
        usd_per_1000_neurons=config.usd_per_1000_neurons,
    )
    AnalyticsMetrics(registry, collector=collector, storing=storing)
    return Analytics(store=store, storing=storing, collector=collector, usage=usage)


@asynccontextmanager
async def serve(config: Config, analytics: Analytics) -> AsyncIterator[tuple[str, ...]]:
    """Listen while inside; on leaving, store what has come in. Yields UsageService's addresses.

    Raises CannotListen and StoreError, each with one line for people.
    """
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    addresses = [f"unix:{config.usage_socket}", *([config.listen] if config.listen else [])]

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(analytics.store)
        await stack.enter_async_context(analytics.storing.running())
        await stack.enter_async_context(
            collecting(
                config.events_socket,
                analytics.collector,
                analytics.storing,
                drain_seconds=config.drain_seconds,
            )
        )
        bound = await stack.enter_async_context(
            grpc_server(
                *addresses,
                add=lambda server: add_UsageServiceServicer_to_server(
                    UsageServicer(analytics.usage), server
                ),
            )
        )
        yield bound
