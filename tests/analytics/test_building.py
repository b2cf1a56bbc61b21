"""Stores by name: which there are, and what is said where one cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from libs.common.config import ConfigFile
from libs.common.errors import Unavailable
from libs.common.usage import UsageQuery
from libs.common.yaml_files import Document, Problems
from services.analytics.app import Config, build
from services.analytics.ports import StoreError
from services.analytics.stores import building
from tests.analytics.support import FakeStore


def settings(stores: object, env: dict[str, str] | None = None) -> Config:
    document = Document("constellation.yaml", {"analytics": {"stores": stores}}, {(): 1})
    return ConfigFile(document, env or {}, ()).settings("analytics", Config, state_dir=Path())


@pytest.mark.parametrize(
    ("given", "text"),
    [
        pytest.param(["duckdb", "oracle"], "'oracle' is no store; expected some of", id="unknown"),
        pytest.param(["duckdb", "duckdb"], "expected each store once", id="one twice"),
        pytest.param([], "expected at least one of duckdb", id="none"),
    ],
)
def test_stores_that_cannot_be_are_refused(given: list[str], text: str) -> None:
    with pytest.raises(Problems, match=text) as raised:
        settings(given)

    assert "analytics.stores" in str(raised.value)


def test_the_environment_separates_stores_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "BUILDERS", {"a": None, "b": None})

    found = settings(["a"], {"CONSTELLATION_ANALYTICS_STORES": "b, a"})

    assert found.stores == ("b", "a")


def test_a_store_whose_library_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    monkeypatch.delitem(sys.modules, "services.analytics.stores.duckdb", raising=False)

    with pytest.raises(StoreError, match=r"duckdb needs duckdb.*inference\[duckdb\]'"):
        build(Config(state_dir=Path()), registry=CollectorRegistry())


async def test_usage_is_asked_from_the_first_store_that_can_answer(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    builders = {"deaf": lambda _: FakeStore(), "duckdb": building.BUILDERS["duckdb"]}
    monkeypatch.setattr(building, "BUILDERS", builders)
    config = Config(state_dir=folder, stores=("deaf", "duckdb"))
    analytics = build(config, registry=CollectorRegistry())

    async with analytics.stores["duckdb"]:
        assert await analytics.usage.query(UsageQuery()) == []


async def test_where_no_store_can_answer_usage_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "BUILDERS", {"deaf": lambda _: FakeStore()})
    config = Config(state_dir=Path(), stores=("deaf",))
    analytics = build(config, registry=CollectorRegistry())

    with pytest.raises(Unavailable, match=r"deaf answers no questions.*add duckdb or clickhouse"):
        await analytics.usage.query(UsageQuery())


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(Config(state_dir=Path(), stores=("kafka",)), id="the store"),
        pytest.param(Config(state_dir=Path(), from_kafka=True), id="what reads it"),
    ],
)
def test_without_the_extra_kafka_it_is_named(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    for module in list(sys.modules):
        if module.startswith("services.analytics") and "kafka" in module:
            monkeypatch.delitem(sys.modules, module)

    with pytest.raises(StoreError, match=r"^kafka needs aiokafka.*inference\[kafka\]'$"):
        build(config, registry=CollectorRegistry())


def test_what_reads_kafka_needs_a_store_to_fill() -> None:
    config = Config(state_dir=Path(), stores=("kafka",), from_kafka=True)

    with pytest.raises(StoreError, match=r"from_kafka fills other stores.*add duckdb"):
        build(config, registry=CollectorRegistry())
