"""Wires analytics together: the one place where its concrete classes meet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from libs.common.bounds import (
    AtLeastOne,
    AtLeastZero,
    DatabaseUrl,
    InsertSeconds,
    NotNegative,
    Seconds,
    SecondsOrNone,
)
from libs.common.clock import Clock, SystemClock
from libs.common.pb.usage_pb2_grpc import add_UsageServiceServicer_to_server
from libs.common.rpc import grpc_server
from services.analytics.batcher import BatchPolicy
from services.analytics.collector import Collector, CollectorLimits
from services.analytics.events_api import collecting
from services.analytics.kafka.config import Mechanism, Security
from services.analytics.lines import Lines
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.ports import Reading, Store, StoreError, UsageStore
from services.analytics.stores.building import StoreNames, build_reading, build_store
from services.analytics.stores.unanswering import Unanswering
from services.analytics.storing import Storing
from services.analytics.usage import Usage
from services.analytics.usage_api import UsageServicer

KAFKA = "kafka"  # the store that others are filled from


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
    # How long events, and what they add up to, are kept in either; 0 days: for ever.
    keep_events_days: AtLeastZero = 30
    keep_usage_days: AtLeastZero = 400
    upkeep_seconds: Seconds = 60.0
    # A database of ClickHouse: where, who asks, and how long is waited for it.
    clickhouse_url: DatabaseUrl = "http://127.0.0.1:8123/constellation"
    clickhouse_user: str = "default"
    clickhouse_password: str = field(default="", repr=False)
    clickhouse_password_file: Path | None = None
    clickhouse_ca_file: Path | None = None  # none: the system's authorities
    clickhouse_connect_seconds: Seconds = 5.0
    clickhouse_write_seconds: InsertSeconds = 30.0
    # Bounds of a question.
    flush_seconds: Seconds = 5.0
    query_seconds: Seconds = 30.0
    max_rows: AtLeastOne = 10_000
    questions: AtLeastOne = 32
    # What neurons cost, as usage tells it; Cloudflare's price.
    usd_per_1000_neurons: NotNegative = 0.011
    # For what has come in to be stored, on leaving.
    drain_seconds: SecondsOrNone = 5.0
    # Stores other than Kafka are filled from Kafka, and not by the sinks of this machine.
    from_kafka: bool = False
    # Where Kafka is, and as whom it is spoken to.
    kafka_servers: str = "127.0.0.1:9092"
    kafka_security: Security = "PLAINTEXT"
    kafka_mechanism: Mechanism = "SCRAM-SHA-512"
    kafka_user: str = ""
    kafka_password_file: Path | None = None
    kafka_ca_file: Path | None = None
    kafka_cert_file: Path | None = None
    kafka_key_file: Path | None = None
    # Its topics, and what they are made with where they are missing.
    kafka_inference_topic: str = "constellation.inference-events"
    kafka_lifecycle_topic: str = "constellation.lifecycle-events"
    kafka_create_topics: bool = True
    kafka_partitions: AtLeastOne = 6
    kafka_replication: AtLeastZero = 0
    # Bounds of writes.
    kafka_batch_bytes: AtLeastOne = 512 << 10
    kafka_request_seconds: Seconds = 10.0
    kafka_write_seconds: Seconds = 30.0
    # Who reads together, and the bounds of that.
    kafka_group: str = "constellation"
    kafka_session_seconds: Seconds = 10.0
    kafka_commit_seconds: Seconds = 1.0
    kafka_fetch_bytes: AtLeastOne = 8 << 20

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
    # Of those, the ones that sinks fill; the others are filled by what reads Kafka.
    intake: Lines
    readings: Mapping[str, Reading]
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
    readings = {
        name: build_reading(name, stores[name], lines.each[name], config)
        for name in _read_from_kafka(config)
    }
    intake = Lines({name: line for name, line in lines.each.items() if name not in readings})
    collector = Collector(line=intake, limits=limits)
    AnalyticsMetrics(registry, collector=collector, lines=lines, readings=readings)
    return Analytics(
        stores=stores,
        lines=lines,
        intake=intake,
        readings=readings,
        collector=collector,
        usage=_usage(config, stores, lines),
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
        bound = await stack.enter_async_context(
            grpc_server(
                *addresses,
                add=lambda server: add_UsageServiceServicer_to_server(
                    UsageServicer(analytics.usage), server
                ),
            )
        )
        yield bound
