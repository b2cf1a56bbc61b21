"""A copy of the events' file from the analytics that runs: whole, one at a time, in peace."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prometheus_client import CollectorRegistry

from libs.common.clients.usage import UsageClient
from libs.common.errors import UsageUnavailable
from libs.common.events.sinks import UnixSocketSink
from services.analytics import copying
from services.analytics.app import Analytics, Config, build, serve
from tests.analytics.support import event

COUNT = "SELECT count(*) FROM inference_events"


@asynccontextmanager
async def running(
    folder: Path, **given: Any
) -> AsyncIterator[tuple[Analytics, UnixSocketSink, UsageClient]]:
    config = Config(state_dir=folder, **given)
    analytics = build(config, registry=CollectorRegistry())
    async with (
        asyncio.timeout(30),
        serve(config, analytics) as addresses,
        UsageClient(addresses[0]) as client,
        UnixSocketSink(config.events_socket, server="ams-0", boot_epoch=1) as sink,
    ):
        yield analytics, sink, client


async def copied(client: UsageClient, to: Path) -> Path:
    with to.open("wb") as file:
        async for piece in client.copy():
            file.write(piece)
    return to


def count(path: Path) -> int:
    with duckdb.connect(str(path), read_only=True) as events:
        ((found,),) = events.execute(COUNT).fetchall()
    return int(found)


async def test_copies_have_what_came_before_while_more_comes(folder: Path) -> None:
    stop = asyncio.Event()
    sent = 0

    async def emit(sink: UnixSocketSink) -> None:
        nonlocal sent
        while not stop.is_set():
            sent += 1
            sink.emit(event(sent))
            await asyncio.sleep(0.001)

    async with running(folder) as (_, sink, client), asyncio.TaskGroup() as group:
        group.create_task(emit(sink))
        found = []
        for number in range(5):
            before = sent
            await sink.flush(5)
            path = await copied(client, folder / f"{number}.duckdb")
            found.append((before, count(path), sent))
        stop.set()

    assert all(before <= there <= after for before, there, after in found), found
    assert count(folder / "events.duckdb") == sent
    assert not (folder / "events.duckdb.copy").exists()


async def test_the_file_is_locked_as_before(folder: Path) -> None:
    async with running(folder) as (_, _, client):
        await copied(client, folder / "copy.duckdb")

        code = f"import duckdb; duckdb.connect({str(folder / 'events.duckdb')!r})"
        other = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True
        )

    assert "Could not set lock" in other.stderr


async def test_a_second_one_at_a_time_is_refused(folder: Path) -> None:
    async with running(folder) as (analytics, _, client):
        pieces = analytics.copying.pieces()
        await anext(pieces)
        with pytest.raises(UsageUnavailable, match="another copy is being made"):
            await copied(client, folder / "copy.duckdb")
        await pieces.aclose()

        await copied(client, folder / "copy.duckdb")


async def test_who_leaves_in_the_middle_leaves_nothing(folder: Path) -> None:
    async with running(folder) as (analytics, _, client):
        pieces = client.copy()
        await anext(pieces)
        await pieces.aclose()
        while (folder / "events.duckdb.copy").exists():
            await asyncio.sleep(0.01)

        assert "busy=False" in repr(analytics.copying)


async def test_without_room_it_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(folder)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)

    async with running(folder) as (_, _, client):
        with pytest.raises(UsageUnavailable, match="there is no room for a copy"):
            await copied(client, folder / "copy.duckdb")


async def test_one_that_takes_too_long_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.analytics.stores import duckdb_copy

    monkeypatch.setattr(duckdb_copy, "COPY", ("sh", "-c", "sleep 20"))
    async with running(folder, copy_seconds=0.2) as (_, sink, client):
        with pytest.raises(UsageUnavailable, match=r"was not copied within 0\.2 s"):
            await copied(client, folder / "copy.duckdb")
        sink.emit(event(1))
        await sink.flush(5)

    assert count(folder / "events.duckdb") == 1


async def test_a_store_that_is_no_file_here_has_no_copy(folder: Path) -> None:
    found = copying.Copying(
        usage=None,  # type: ignore[arg-type]
        store=None,
        file=folder / "events.duckdb",
        copy_seconds=1,
    )

    with pytest.raises(UsageUnavailable, match="in no file of this machine"):
        await anext(found.pieces())
