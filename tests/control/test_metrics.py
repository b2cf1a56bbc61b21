"""What a scrape of control shows."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from libs.common.errors import Unavailable
from libs.common.world_map import Account, Assignment, Colo, EntryLoad, Node, Report
from services.control import app
from services.control.metrics import ControlMetrics
from tests.waiting import until


async def test_who_reports_is_heard_and_who_should_is_missed(folder: Path) -> None:
    registry, over = CollectorRegistry(), asyncio.Event()

    def shown(metric: str, /, **labels: str) -> float | None:
        return registry.get_sample_value(f"constellation_control_{metric}", labels)

    async def reports(kind: str, resource: object) -> AsyncIterator[Report]:
        yield Report(kind=kind, name="n1", colo="ams", resources=(resource,))  # type: ignore[arg-type]
        await over.wait()
        raise Unavailable("lost")

    config = app.Config(state_dir=folder, listen="", report_gone_s=0.1)
    control = app.build(config, catalog=[Colo(name="ams")], metrics=ControlMetrics(registry))
    assert shown("active") == 0
    async with app.serve(config, control):
        assert shown("active") == 1
        assert shown("watchers") == 0
        await control.put(Assignment(node="n2", model="m", instances=1))
        await control.put(Assignment(node="n3", model="m", instances=0))
        lost = [
            asyncio.create_task(control.report(reports("node", Node(name="n1", colo="ams")))),
            asyncio.create_task(control.report(reports("entry", EntryLoad(name="n1", colo="ams")))),
        ]
        await until(lambda: shown("reporting", kind="node", name="n1") == 1)
        assert shown("reporting", kind="entry", name="n1") == 1
        assert shown("reporting", kind="node", name="n2") == 0
        assert shown("reporting", kind="node", name="n3") is None

        over.set()
        await asyncio.gather(*lost, return_exceptions=True)
        assert shown("reporting", kind="node", name="n1") == 0
        await until(lambda: shown("reporting", kind="entry", name="n1") is None)
    assert shown("active") == 0


async def test_a_store_that_cannot_be_had_is_counted(folder: Path) -> None:
    registry = CollectorRegistry()
    config = app.Config(state_dir=folder, listen="")
    control = app.build(config, catalog=(), metrics=ControlMetrics(registry))
    async with app.serve(config, control):
        with closing(sqlite3.connect(folder / "control.db")) as database:
            database.execute("DROP TABLE resources")
        with pytest.raises(Unavailable):
            await control.put(Account(id="a"))

        failures = registry.get_sample_value("constellation_control_store_failures_total")

    assert failures
