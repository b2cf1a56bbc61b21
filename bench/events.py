"""`constellation bench events`: what an event costs, from the server that emits it to the store.

The sink runs in this process, as it does in a server; the collector is `constellation analytics`
with its DuckDB. All times are CPU times, of these two and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from bench.arguments import positive, positive_int
from bench.ours import BOOT_S, COMMAND
from bench.processes import Failure, Process, cpu_seconds, memory_mb, prepare, running, until
from bench.report import number, say, table
from libs import compiled
from libs.common.events.occurrences import COMMON, OWN, Occurrence
from libs.common.events.sinks import SinkConfig, UnixSocketSink
from libs.common.events.spool import SpoolConfig
from libs.common.events.spooling import SpoolingConfig
from libs.common.events.values import InferenceEvent

SERVER = "bench-server"
DIFFERENT = 20_000  # events that are made beforehand, and sent again and again
WAITING = 20_000  # that the sink may hold, where events come as fast as they are stored
AWAY_PER_S = 1_000  # events while the collector is away
LOADS = (100, 1_000, 10_000)  # events a second
STORE_S = 120.0
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bound:
    """What the project wants of one number."""

    row: str
    field: str
    bound: float
    is_floor: bool = False

    def verdict(self, value: float) -> str:
        """Return whether a number keeps the bound."""
        is_kept = value >= self.bound if self.is_floor else value <= self.bound
        return "kept" if is_kept else "MISSED"


BOUNDS = (
    Bound("emit alone", "sink_us", 5.0),
    Bound("10,000 events/s", "sink_us", 15.0),
    Bound("as fast as they are stored", "per_core", 50_000.0, is_floor=True),
    Bound("the collector away", "grown_mb", 40.0),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; 1 if a bound is missed, or nothing could be measured."""
    arguments = parser().parse_args(argv)
    try:
        prepare()
        rows = measure(arguments)
    except Failure as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    say(f"the hot path is {'compiled' if compiled.in_use() else 'interpreted'}\n")
    say(told(rows))
    found = verdicts(rows)
    heads = ("bound", "measured", "wanted", "verdict")
    say(f"\n{table(heads, [[str(row[head]) for head in heads] for row in found])}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    return 1 if any(row["verdict"] == "MISSED" for row in found) else 0


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="constellation bench events", description=__doc__)
    made.add_argument("--seconds", type=positive, default=5.0, help="of each load")
    made.add_argument("--events", type=positive_int, default=300_000, help="through everything")
    made.add_argument("--away", type=positive, default=600.0, help="seconds without a collector")
    made.add_argument("--json", type=Path, help="file for the numbers")
    return made


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Return a row for each load, the collector's absence and its return."""
    events = list(several(DIFFERENT))
    away = int(AWAY_PER_S * arguments.away)
    rows = []
    with tempfile.TemporaryDirectory(prefix="cste") as name:
        folder = Path(name)
        rows.append(uvloop.run(emitting(folder, events)))
        for spool in (False, True):
            with collector(folder) as process:
                for per_s in LOADS:
                    what = f"{per_s:,} events/s{'' if spool else ', no spool'}"
                    count = max(int(per_s * arguments.seconds), 100)
                    pacing = pacing_us(events, count, per_s)
                    work = paced(folder, events, count, per_s, spool=spool)
                    rows.append(costs(what, count, process, work, less_us=pacing))
        with collector(folder) as process:
            work = saturated(folder, events, arguments.events)
            rows.append(costs("as fast as they are stored", arguments.events, process, work))
        rows.append(uvloop.run(absent(folder, events, away)))
        with collector(folder) as process:
            rows.append(costs("what was spooled then", away, process, returned(folder)))
    return rows


def several(count: int) -> Iterator[Occurrence]:
    """Yield events as servers emit them."""
    for event in whole(count):
        common, own = (tuple(getattr(event, name) for name in part) for part in (COMMON, OWN))
        yield Occurrence(event.request_id, common=common, own=own)


def whole(count: int) -> Iterator[InferenceEvent]:
    """Yield events of several accounts and models, one in ten with an id of its client's."""
    now_ms = int(time.time() * 1000)
    for n in range(count):
        took = 40.0 + n % 977
        yield InferenceEvent(
            account_id=f"{n % 50:032x}",
            model_id=f"@cf/bench/model-{n % 20}",
            request_id=f"01K{n:023d}",
            timestamp_ms=now_ms + n % 1000,
            task="text-generation",
            request_source=3,
            client_request_id=f"client-{n}" if n % 10 == 0 else "",
            request_time_ms=took,
            inference_time_ms=took - 2.0,
            queuing_time_ms=1.5,
            time_to_first_token=12.0 + n % 13,
            queue_us=1500,
            permit_wait_us=1400 + n % 100,
            forward_us=int(1000 * took),
            first_part_us=12_000,
            neurons=0.001 * (n % 400),
            tokens_in=20 + n % 300,
            tokens_out=n % 400,
            bytes_in=300 + n % 1000,
            bytes_out=900 + n % 3000,
            http_status=200,
            flags=1 if n % 2 else 0,
            colo_id="ams",
            source_colo_id="ams" if n % 3 else "lhr",
            model_container_id=f"ams-node/model-{n % 20}/0",
            endpoint=f"10.0.0.{n % 20}:8001",
            chosen_because="only" if n % 4 else "emptier",
            local_queue_size=n % 5,
            priority=5,
            shard_epoch=3,
        )


@contextmanager
def collector(folder: Path) -> Iterator[Process]:
    """Run analytics while inside."""
    command = [*COMMAND, "analytics", "--state-dir", str(folder)]
    with running(command, log=folder / "analytics.log") as process:
        until(lambda: is_up(process), seconds=BOOT_S, what="analytics")
        yield process
    (folder / "analytics.log").unlink()


def is_up(process: Process) -> bool:
    """Return whether it says so; Failure if it has ended."""
    process.check()
    return "is up" in process.said()


def sink(folder: Path, *, spool: bool = True) -> UnixSocketSink:
    """Return a sink of its own boot, with a server's settings but for a spool without bound."""
    spooling = SpoolingConfig(folder=folder / "spool", bounds=SpoolConfig(most_bytes=1 << 40))
    return UnixSocketSink(
        folder / "events.sock",
        server=SERVER,
        boot_epoch=time.time_ns() // 1_000_000,
        config=SinkConfig(spooling=spooling if spool else None, close_seconds=0.5),
    )


def costs(
    what: str,
    count: int,
    process: Process,
    work: Coroutine[Any, Any, None],
    *,
    less_us: float = 0.0,
) -> Row:
    """Return what an event costs in this process and in the collector's, until it is stored.

    `less_us` is what an event would cost this process without a sink.
    """
    pids = [process.popen.pid]
    ours, theirs = time.process_time(), cpu_seconds(pids)
    began = time.monotonic()
    uvloop.run(work)
    seconds = time.monotonic() - began
    sink_us = 1e6 * (time.process_time() - ours) / count - less_us
    collector_us = 1e6 * (cpu_seconds(pids) - theirs) / count
    return {
        "what": what,
        "events": count,
        "per_s": count / seconds,
        "sink_us": sink_us,
        "collector_us": collector_us,
        "per_core": 1e6 / (sink_us + collector_us),
    }


async def emitting(folder: Path, events: Sequence[Occurrence]) -> Row:
    """Return what `emit` alone takes, while nobody listens."""
    spent = 0.0
    async with sink(folder, spool=False) as box:
        for first in range(0, 4_000, 100):
            began = time.process_time()
            for event in events[first : first + 100]:
                box.emit(event)
            spent += time.process_time() - began
    return {"what": "emit alone", "events": 4_000, "sink_us": 1e6 * spent / 4_000}


async def paced(
    folder: Path, events: Sequence[Occurrence], count: int, per_s: int, *, spool: bool
) -> None:
    """Emit at a rate, in turns of the loop as requests have them."""
    async with sink(folder, spool=spool) as box:
        await at_rate(box.emit, events, count, per_s)
        await stored(box, count)


async def at_rate(
    emit: Callable[[Occurrence], None],
    events: Sequence[Occurrence],
    count: int,
    per_s: int,
) -> None:
    """Call `emit` so often a second, in at most 500 turns of the loop."""
    at_once = max(per_s // 500, 1)
    began = time.monotonic()
    for first in range(0, count, at_once):
        for each in range(first, min(first + at_once, count)):
            emit(events[each % DIFFERENT])
        await asyncio.sleep(max(began + first / per_s - time.monotonic(), 0.0))


def pacing_us(events: Sequence[Occurrence], count: int, per_s: int) -> float:
    """Return what calling at that rate costs by itself, per event: it is not the sink's."""
    began = time.process_time()
    uvloop.run(at_rate(lambda _: None, events, count, per_s))
    return 1e6 * (time.process_time() - began) / count


async def saturated(folder: Path, events: Sequence[Occurrence], count: int) -> None:
    """Emit as fast as it is stored."""
    async with sink(folder) as box:
        for number in range(count):
            box.emit(events[number % DIFFERENT])
            if number % 200 == 0:
                await asyncio.sleep(0.001)  # in it, batches are sealed
            if box.waiting > WAITING:
                await box.flush(STORE_S)
        await stored(box, count)


async def absent(folder: Path, events: Sequence[Occurrence], count: int) -> Row:
    """Return what a sink keeps in memory, and on disk, of what comes while nobody listens."""
    pid = [os.getpid()]
    async with sink(folder) as box:
        before = memory_mb(pid)
        began = time.process_time()
        for number in range(count):
            box.emit(events[number % DIFFERENT])
            if number % 100 == 99:
                await asyncio.sleep(0.002)
        spent = time.process_time() - began
        await asyncio.sleep(0.1)
        spool = box.spool
        assert spool is not None
        if box.counts.dropped:
            raise Failure(f"{box.counts.dropped} events were dropped")
        return {
            "what": "the collector away",
            "events": count,
            "sink_us": 1e6 * spent / count,
            "grown_mb": memory_mb(pid) - before,
            "disk_mb": spool.bytes / 1e6,
        }


async def returned(folder: Path) -> None:
    """Send what the boot before has left."""
    async with sink(folder) as box:
        began = time.monotonic()
        while box.waiting:
            await asyncio.sleep(0.005)
            if time.monotonic() - began > STORE_S:
                raise Failure(f"{box.waiting} events were not stored in {STORE_S:g} s")


async def stored(box: UnixSocketSink, count: int) -> None:
    """Wait until all is stored."""
    await box.flush(STORE_S)
    if box.counts.ok != count:
        raise Failure(f"{box.counts.ok} of {count} events were stored")


def told(rows: Sequence[Row]) -> str:
    """Return the table of all rows."""
    heads = {
        "what": "what",
        "events": "events",
        "per_s": "events/s",
        "sink_us": "sink us",
        "collector_us": "collector us",
        "per_core": "events/s/core",
        "grown_mb": "memory MB",
        "disk_mb": "disk MB",
    }
    cells = [[row["what"], *(number(row.get(key)) for key in list(heads)[1:])] for row in rows]
    return table(tuple(heads.values()), cells)


def verdicts(rows: Sequence[Row]) -> list[Row]:
    """Return each bound with what was measured."""
    by_name = {row["what"]: row for row in rows}
    found = []
    for bound in BOUNDS:
        value = by_name[bound.row][bound.field]
        found.append(
            {
                "bound": f"{bound.row}: {bound.field}",
                "measured": number(value),
                "wanted": f"{'>=' if bound.is_floor else '<='} {bound.bound:,.0f}",
                "verdict": bound.verdict(value),
            }
        )
    return found


if __name__ == "__main__":
    raise SystemExit(main())
