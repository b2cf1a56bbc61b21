"""Stores by name: each is imported only where it is named, as its libraries may be absent.

A new one is a function here and a line in `BUILDERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator

from services.analytics.ports import Store, StoreError

if TYPE_CHECKING:
    from services.analytics.app import Config


def build_store(name: str, config: Config) -> Store:
    """Return the store of that name, not yet open. StoreError: its libraries are not there."""
    try:
        return BUILDERS[name](config)
    except ModuleNotFoundError as error:
        raise StoreError(
            f"the store {name} needs {error.name}, which is not installed:"
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


BUILDERS: Mapping[str, Callable[[Config], Store]] = {
    "duckdb": _duckdb,
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
