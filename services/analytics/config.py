"""Settings of analytics: where it keeps and answers, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from libs.common.bounds import (
    Address,
    AtLeastOne,
    AtLeastZero,
    DatabaseUrl,
    InsertSeconds,
    NotNegative,
    Seconds,
    SecondsOrNone,
)
from libs.common.hop_settings import HopSettings
from services.analytics.kafka.config import Mechanism, Security
from services.analytics.stores.building import StoreNames


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(HopSettings):
    """Where events are kept, and what questions about them may cost."""

    state_dir: Path
    """Always `--state-dir`."""
    listen: Address = ""
    """Where the usage service listens besides `usage.sock`."""
    stores: StoreNames = ("duckdb",)
    """Where events go: a list of `duckdb`, `clickhouse` and `kafka`, in the environment with
    commas; sinks are told that a batch is stored once all of these have it, and usage is answered
    from the first that can."""
    write_events: AtLeastOne = 20_000
    """Events in one write to a store."""
    write_age_seconds: SecondsOrNone = 0.2
    """Longest that a batch waits for others: a write costs 9 ms, however few events it has."""
    waiting_events: AtLeastOne = 50_000
    """Events that may wait for each store; beyond it, for any of them, nothing is read from sinks.
    """
    connections: AtLeastOne = 256
    """Sinks that may be connected."""
    batch_bytes: AtLeastOne = 4 << 20
    """Largest batch."""
    batch_events: AtLeastOne = 4096
    """Most events in one batch."""
    read_seconds: Seconds = 10.0
    """For the rest of a batch, once it has begun."""
    memory_mb: AtLeastOne = 512
    """Memory of DuckDB."""
    threads: AtLeastOne = 2
    """Threads of DuckDB."""
    keep_events_days: AtLeastZero = 30
    """How long DuckDB and ClickHouse keep events, one by one; 0: for ever."""
    keep_usage_days: AtLeastZero = 400
    """How long they keep what those add up to by the hour, and events at most; 0: for ever
    ([analytics](analytics.md#the-store))."""
    upkeep_seconds: Seconds = 60.0
    """Between two looks at what is to be rolled up, and what is too old."""
    clickhouse_url: DatabaseUrl = field(default="http://127.0.0.1:8123/constellation", repr=False)
    """A database of [ClickHouse](analytics.md#clickhouse), as `http(s)://host[:port]/database`;
    made, if it is not there."""
    clickhouse_user: str = "default"
    """Who asks ClickHouse."""
    clickhouse_password: str = field(default="", repr=False)
    """That user's password; better in the environment, or in a file."""
    clickhouse_password_file: Path | None = None
    """File with that password, read at each connection."""
    clickhouse_ca_file: Path | None = None
    """Certificates of the authorities that a ClickHouse by `https` may have its own from; none: the
    system's."""
    clickhouse_connect_seconds: Seconds = 5.0
    """For a connection to ClickHouse."""
    clickhouse_write_seconds: InsertSeconds = 30.0
    """For an insert into ClickHouse."""
    flush_seconds: Seconds = 5.0
    """For what has come in to be stored, before a question is answered."""
    query_seconds: Seconds = 30.0
    """For the store's answer to a question."""
    copy_seconds: Seconds = 600.0
    """For a copy of DuckDB's file, for [a backup](backup.md), in which nothing is written."""
    max_rows: AtLeastOne = 10_000
    """Most rows in one answer."""
    questions: AtLeastOne = 32
    """Questions that may wait for the store at once; one more is refused with 7005."""
    usd_per_1000_neurons: NotNegative = 0.011
    """What neurons cost, in US dollars, as usage tells it."""
    drain_seconds: SecondsOrNone = 5.0
    """For what has come in to be stored, on leaving."""
    from_kafka: bool = False
    """`stores` other than `kafka` are filled with what is in [Kafka](analytics.md#kafka), and not
    by this machine's servers."""
    kafka_servers: str = "127.0.0.1:9092"
    """Some of Kafka's brokers, `host:port` with commas between them."""
    kafka_security: Security = "PLAINTEXT"
    """How brokers are spoken to."""
    kafka_mechanism: Mechanism = "SCRAM-SHA-512"
    """How the password is shown, with SASL."""
    kafka_user: str = ""
    """Who speaks to the brokers, with SASL."""
    kafka_password_file: Path | None = None
    """File with the password, with SASL; read at each connection."""
    kafka_ca_file: Path | None = None
    """Authorities that brokers' certificates are checked by, as PEM; null: the system's."""
    kafka_cert_file: Path | None = None
    """A certificate of one's own as PEM, where brokers want one."""
    kafka_key_file: Path | None = None
    """The key of that certificate."""
    kafka_inference_topic: str = "constellation.inference-events"
    """The topic of what became of calls."""
    kafka_lifecycle_topic: str = "constellation.lifecycle-events"
    """The topic of endpoints that came and went."""
    kafka_create_topics: bool = True
    """Whether topics that are missing are made."""
    kafka_partitions: AtLeastOne = 6
    """Partitions of a topic that is made."""
    kafka_replication: AtLeastZero = 0
    """Copies of a topic that is made; 0: what the brokers have as their default."""
    kafka_batch_bytes: AtLeastOne = 512 << 10
    """Largest batch of Kafka's, before it is compressed."""
    kafka_request_seconds: Seconds = 10.0
    """For an answer of a broker of Kafka."""
    kafka_write_seconds: Seconds = 30.0
    """For a write into Kafka; it is tried again with a new producer."""
    kafka_group: str = "constellation"
    """How the names of the groups that read begin."""
    kafka_session_seconds: Seconds = 10.0
    """After so long without a word from one who reads, others of its group have its part; brokers
    take no less than 6 unless they are told to."""
    kafka_commit_seconds: Seconds = 1.0
    """Between two commits of how far the store is."""
    kafka_fetch_bytes: AtLeastOne = 8 << 20
    """Most that is fetched from a broker at once."""

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
