"""Wires analytics together: the one place where its concrete classes meet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from libs.common.clock import Clock, SystemClock
from libs.common.grpcio_tls import server_credentials
from libs.common.hop_tls import warn_if_open
from libs.common.own_process import STARTED_MS, our_version
from libs.common.pb.usage_pb2_grpc import add_UsageServiceServicer_to_server
from libs.common.process import AnalyticsStatus
from libs.common.rpc import grpc_server
from libs.common.rpc_guard import Guard
from services.analytics.batcher import BatchPolicy
from services.analytics.collector import Collector, CollectorLimits
from services.analytics.config import Config as Config
from services.analytics.copying import Copying
from services.analytics.events_api import collecting
from services.analytics.lines import Lines
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.ports import Reading, Store, StoreError, UsageStore
from services.analytics.stores.building import build_reading, build_store
from services.analytics.stores.unanswering import Unanswering
from services.analytics.storing import Storing
from services.analytics.usage import Usage
from services.analytics.usage_api import CALLERS, UsageServicer

KAFKA = "kafka"  # the store that others are filled from
DUCKDB = "duckdb"  # the store that is a file here


@dataclass(frozen=True, slots=True, kw_only=True)
class Analytics:
    """The parts, not yet open."""

    stores: Mapping[str, Store]
    lines: Lines
    # Of those, the ones that sinks fill; the others are filled by what reads Kafka.
    intake: Lines
    readings: Mapping[str, Reading]
    collector: Collector
    usage: Usage
    copying: Copying

    def status(self) -> AnalyticsStatus:
        """Return how it is."""
        return AnalyticsStatus(
            version=our_version(),
            started_ms=STARTED_MS,
            connections=self.collector.connections,
            stores=tuple(line.status() for line in self.lines.each.values()),
        )


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
    readings = {
        name: build_reading(name, stores[name], lines.each[name], config)
        for name in _read_from_kafka(config)
    }
    intake = Lines({name: line for name, line in lines.each.items() if name not in readings})
    collector = Collector(line=intake, limits=limits)
    AnalyticsMetrics(registry, collector=collector, lines=lines, readings=readings)
    usage = _usage(config, stores, lines)
    return Analytics(
        stores=stores,
        lines=lines,
        intake=intake,
        readings=readings,
        collector=collector,
        usage=usage,
        copying=Copying(
            usage=usage,
            store=stores.get(DUCKDB),
            file=config.store_file,
            copy_seconds=config.copy_seconds,
        ),
    )


def _read_from_kafka(config: Config) -> tuple[str, ...]:
    """Return the stores that are filled from Kafka."""
    if not config.from_kafka:
        return ()
    names = tuple(name for name in config.stores if name != KAFKA)
    if not names:
        raise StoreError(
            "from_kafka fills other stores with what is in Kafka:"
            " add duckdb or clickhouse to the setting analytics.stores"
        )
    return names


def _usage(config: Config, stores: Mapping[str, Store], lines: Lines) -> Usage:
    """Return what answers from the first store that can."""
    answering = ((name, each) for name, each in stores.items() if isinstance(each, UsageStore))
    name, store = next(answering, ("", Unanswering(config.stores)))
    return Usage(
        store=store,
        flush=lines.each[name].flush if name else _nothing_to_flush,
        flush_seconds=config.flush_seconds,
        max_rows=config.max_rows,
        questions=config.questions,
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
        for reading in analytics.readings.values():
            await stack.enter_async_context(reading.running())
        if analytics.intake.each:
            await stack.enter_async_context(
                collecting(
                    config.events_socket,
                    analytics.collector,
                    analytics.intake,
                    drain_seconds=config.drain_seconds,
                )
            )
        tls = config.hop_tls
        warn_if_open(config.listen, tls)
        bound = await stack.enter_async_context(
            grpc_server(
                *addresses,
                credentials=server_credentials(tls) if tls else None,
                guard=Guard(CALLERS, token=config.token_of_rpcs),
                add=lambda server: add_UsageServiceServicer_to_server(
                    UsageServicer(analytics.usage, analytics.copying, analytics.status), server
                ),
            )
        )
        yield bound
