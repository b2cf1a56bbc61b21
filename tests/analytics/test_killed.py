"""Who is killed with -9, the collector or its sink or both, loses nothing that was sealed."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import duckdb

from libs.common.backoff import Backoff
from libs.common.events.sinks import SinkConfig, UnixSocketSink
from tests.analytics.support import event

EVENTS = 12_000
LATE_MS = 100.0  # until the timer comes on a busy machine; said in docs/analytics.md
CONFIG = SinkConfig(
    backoff=Backoff(first_s=0.02, most_s=0.1), pending_events=EVENTS, close_seconds=20
)


@asynccontextmanager
async def collector_process(folder: Path, where: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.analytics.collector_process",
        str(folder),
        where,
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def rows(folder: Path) -> list[tuple[int, str]]:
    with duckdb.connect(str(folder / "events.duckdb")) as connection:
        return connection.execute(
            "SELECT sequence, request_id FROM inference_events ORDER BY sequence"
        ).fetchall()


async def emit_all(sink: UnixSocketSink) -> None:
    for number in range(EVENTS):
        sink.emit(event(number))
        if number % 100 == 0:
            await asyncio.sleep(0.005)


async def test_killed_in_mid_insert_it_loses_and_doubles_nothing(folder: Path) -> None:
    path = folder / "events.sock"
    async with (
        asyncio.timeout(55),
        UnixSocketSink(path, server="ams-0", boot_epoch=1, config=CONFIG) as sink,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(emit_all(sink))
        for where in ("insert", "ack", "insert"):
            async with collector_process(folder, where) as process:
                assert await process.wait() == -signal.SIGKILL
            await asyncio.sleep(0.05)  # acknowledgements that came before it died
            stored = len(await asyncio.to_thread(rows, folder))
            assert (stored > sink.counts.ok) is (where == "ack")
        async with collector_process(folder, "nowhere"):
            await sink.flush(30)

    assert sink.counts.dropped == 0
    assert rows(folder) == [(n + 1, event(n).request_id) for n in range(EVENTS)]


async def test_killed_at_any_moment_it_loses_and_doubles_nothing(folder: Path) -> None:
    path, dice = folder / "events.sock", random.Random(7)
    async with (
        asyncio.timeout(55),
        UnixSocketSink(path, server="ams-0", boot_epoch=1, config=CONFIG) as sink,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(emit_all(sink))
        for _ in range(3):
            async with collector_process(folder, "nowhere") as process:
                stored = sink.counts.ok
                while sink.counts.ok == stored and stored < EVENTS:  # until it is at work
                    await asyncio.sleep(0.001)
                await asyncio.sleep(dice.uniform(0.0, 0.03))
                process.kill()
        async with collector_process(folder, "nowhere"):
            await sink.flush(30)

    assert sink.counts.dropped == 0
    assert rows(folder) == [(n + 1, event(n).request_id) for n in range(EVENTS)]


async def sink_process(folder: Path, epoch: int, count: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.analytics.sink_process", str(folder), str(epoch), str(count)),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )


async def test_killed_together_sink_and_collector_lose_the_last_10_ms(
    folder: Path, record_property: Callable[[str, object], None]
) -> None:
    async with asyncio.timeout(55):
        process = await sink_process(folder, 1, 100_000)
        assert process.stdout is not None
        emitted: list[int] = []
        while len(emitted) < 700:
            _, moment = (await process.stdout.readline()).split()
            emitted.append(int(moment))
        process.kill()
        killed = time.monotonic_ns()
        emitted += [int(line.split()[1]) for line in (await process.stdout.read()).splitlines()]
        await process.wait()
        assert await (await sink_process(folder, 2, 0)).wait() == 0

    stored = [number for number, _ in rows(folder)]
    assert stored == list(range(1, len(stored) + 1))
    ages = [(killed - moment) / 1e6 for moment in emitted[len(stored) :]]
    oldest = max(ages, default=0.0)
    cost = f"{len(ages)} of {len(emitted)} events lost, {oldest:.1f} ms old at most"
    record_property("fault", f"kill -9 of a sink with its collector: {cost}")
    assert oldest < 1000 * CONFIG.flush_seconds + LATE_MS
