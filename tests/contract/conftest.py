"""Stations that reach one another each way there is, and every store of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from tests.contract.event_stores import STORES, Open
from tests.contract.stations import Cluster
from tests.short_dirs import short_dir


@pytest.fixture(params=["plain", "lean", "mutual tls"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    with short_dir() as folder:
        async with AsyncExitStack() as stack:
            made = Cluster(request.param, folder, stack)
            yield made
            for station in made.stations.values():
                station.release.set()
            async with asyncio.timeout(5):
                for station in made.stations.values():
                    while station.server.in_flight:
                        await asyncio.sleep(0.01)
                    assert all(load.in_flight == 0 for load in station.loads)


@pytest.fixture(
    params=[*STORES, pytest.param("clickhouse", marks=pytest.mark.xdist_group("clickhouse"))]
)
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens the store, each time the same one."""
    if request.param == "clickhouse":
        from services.analytics.stores.clickhouse import ClickHouseStore
        from services.analytics.stores.clickhouse_rollup import RollUp

        with request.getfixturevalue("clickhouse").emptied() as address:
            yield lambda: ClickHouseStore(address, roll_up=RollUp(every_seconds=0))
        return
    with short_dir() as folder:
        yield lambda: STORES[request.param](folder)
