"""Wires analytics together: the one place where its concrete classes meet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from libs.common.bounds import AtLeastOne, AtLeastZero, NotNegative, Seconds, SecondsOrNone
from libs.common.clock import Clock, SystemClock
from libs.common.pb.usage_pb2_grpc import add_UsageServiceServicer_to_server
from libs.common.rpc import grpc_server
from services.analytics.batcher import BatchPolicy
from services.analytics.collector import Collector, CollectorLimits
from services.analytics.events_api import collecting
from services.analytics.lines import Lines
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.ports import Store, UsageStore
from services.analytics.stores.building import StoreNames, build_store
from services.analytics.stores.unanswering import Unanswering
from services.analytics.storing import Storing
from services.analytics.usage import Usage
from services.analytics.usage_api import UsageServicer


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Where analytics keeps and answers, and its bounds."""

    state_dir: Path
    # host:port for UsageService besides its Unix socket; empty: none.
    listen: str = ""
    # Where events go: a batch is acknowledged once all of these have it.
    stores: StoreNames = ("duckdb",)
    # Bounds of one write to a store, and of what waits for one in each store's line.
    write_events: AtLeastOne = 5_000
    write_age_seconds: SecondsOrNone = 0.2
    waiting_events: AtLeastOne = 50_000
    # Bounds of the sinks' connections.
    connections: AtLeastOne = 256
    batch_bytes: AtLeastOne = 4 << 20
    batch_events: AtLeastOne = 4096
    read_seconds: Seconds = 10.0
    # Bounds of DuckDB.
    memory_mb: AtLeastOne = 512
    threads: AtLeastOne = 2
    # How long events, and what they add up to, are kept there; 0 days: for ever.
    keep_events_days: AtLeastZero = 30
    keep_usage_days: AtLeastZero = 400
    upkeep_seconds: Seconds = 60.0
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

    stores: Mapping[str, Store]
    lines: Lines
    collector: Collector
    usage: Usage


def build(config: Config, *, registry: CollectorRegistry, clock: Clock | None = None) -> Analytics:
    """Assemble analytics without opening anything. StoreError: a store's libraries are missing."""
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
    stores = {name: build_store(name, config) for name in config.stores}
    lines = Lines(
        {
            name: Storing(store=store, name=name, clock=clock or SystemClock(), policy=policy)
            for name, store in stores.items()
        }
    )
    collector = Collector(line=lines, limits=limits)
    AnalyticsMetrics(registry, collector=collector, lines=lines)
    usage = _usage(config, stores, lines)
    return Analytics(stores=stores, lines=lines, collector=collector, usage=usage)


def _usage(config: Config, stores: Mapping[str, Store], lines: Lines) -> Usage:
    """Return what answers from the first store that can."""
    answering = ((name, each) for name, each in stores.items() if isinstance(each, UsageStore))
    name, store = next(answering, ("", Unanswering(config.stores)))
    return Usage(
        store=store,
        flush=lines.each[name].flush if name else _nothing_to_flush,
        flush_seconds=config.flush_seconds,
        max_rows=config.max_rows,
        usd_per_1000_neurons=config.usd_per_1000_neurons,
    )


async def _nothing_to_flush(seconds: float) -> None:
    """Bring nothing into the store that there is not."""


@asynccontextmanager
async def serve(config: Config, analytics: Analytics) -> AsyncIterator[tuple[str, ...]]:
    """Listen while inside; on leaving, store what has come in. Yields UsageService's addresses.

    Raises CannotListen and StoreError, each with one line for people.
    """
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    addresses = [f"unix:{config.usage_socket}", *([config.listen] if config.listen else [])]

    async with AsyncExitStack() as stack:
        for store in analytics.stores.values():
            await stack.enter_async_context(store)
        await stack.enter_async_context(analytics.lines.running())
        await stack.enter_async_context(
            collecting(
                config.events_socket,
                analytics.collector,
                analytics.lines,
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
