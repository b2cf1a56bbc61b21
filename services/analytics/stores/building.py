"""Stores by name: each is imported only where it is named, as its libraries may be absent.

A new one is a function here and a line in `BUILDERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator

from services.analytics.ports import Line, OwnStore, Reading, Store, StoreError

if TYPE_CHECKING:
    from services.analytics.config import Config


def build_store(name: str, config: Config) -> Store:
    """Return the store of that name, not yet open. StoreError: its libraries are not there."""
    with _extra(name):
        return BUILDERS[name](config)


def build_reading(name: str, store: Store, line: Line, config: Config) -> Reading:
    """Return what fills that store from Kafka. StoreError: its libraries are not there."""
    with _extra("kafka"):
        from services.analytics.kafka.cluster import KafkaCluster
        from services.analytics.kafka.config import kafka_config
        from services.analytics.kafka.consumer import Consumer

    def group() -> str:
        own = f".{store.identity}" if isinstance(store, OwnStore) else ""
        return f"{config.kafka_group}.{name}{own}"

    cluster = KafkaCluster(kafka_config(config))
    return Consumer(cluster, line=line, group=group, drain_seconds=config.drain_seconds)


@contextmanager
def _extra(name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{name} needs {error.name}, which is not installed:"
            f" pip install 'constellation-inference[{name}]'"
        ) from error


def _duckdb(config: Config) -> Store:
    from services.analytics.stores.duckdb import DuckDBStore
    from services.analytics.stores.duckdb_hours import Keeping

    return DuckDBStore(
        config.store_file,
        memory_mb=config.memory_mb,
        threads=config.threads,
        query_seconds=config.query_seconds,
        keeping=Keeping(
            events_days=config.keep_events_days,
            usage_days=config.keep_usage_days,
            every_s=config.upkeep_seconds,
        ),
    )


def _kafka(config: Config) -> Store:
    from services.analytics.kafka.config import kafka_config
    from services.analytics.stores.kafka import KafkaStore

    return KafkaStore(kafka_config(config))


def _clickhouse(config: Config) -> Store:
    from services.analytics.stores.clickhouse import ClickHouseStore
    from services.analytics.stores.clickhouse_client import ClickHouseAddress
    from services.analytics.stores.clickhouse_rollup import RollUp
    from services.analytics.stores.clickhouse_tables import Retention

    retention = Retention(events_days=config.keep_events_days, usage_days=config.keep_usage_days)
    return ClickHouseStore(
        ClickHouseAddress(
            url=config.clickhouse_url,
            user=config.clickhouse_user,
            password=config.clickhouse_password,
            password_file=config.clickhouse_password_file,
            ca_file=config.clickhouse_ca_file,
            connect_seconds=config.clickhouse_connect_seconds,
        ),
        retention=retention,
        roll_up=RollUp(every_seconds=config.upkeep_seconds, retention_days=retention.of_events),
        write_seconds=config.clickhouse_write_seconds,
        query_seconds=config.query_seconds,
    )


BUILDERS: Mapping[str, Callable[[Config], Store]] = {
    "duckdb": _duckdb,
    "kafka": _kafka,
    "clickhouse": _clickhouse,
}


def _split(names: object) -> object:
    """Take names with commas between them, as an environment has to write a list."""
    if isinstance(names, str):
        return [name.strip() for name in names.split(",") if name.strip()]
    return names


def _known(names: Sequence[str]) -> Sequence[str]:
    known = ", ".join(BUILDERS)
    if not names:
        raise ValueError(f"expected at least one of {known}")
    for name in names:
        if name not in BUILDERS:
            raise ValueError(f"{name!r} is no store; expected some of {known}")
    if len(set(names)) < len(names):
        raise ValueError("expected each store once")
    return names


StoreNames = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_known)]
