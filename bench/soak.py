"""`constellation bench soak`: `constellation up` under a mixed load, for as long as one likes.

Memory, descriptors, threads and tasks must not grow, the event loop must not be late, no call may
fail, and after the load all permits must be back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.arguments import positive, positive_int
from bench.bare_loop import bare_loop
from bench.ours import COMMAND
from bench.processes import Failure, Process, free_ports, prepare, running, until
from bench.report import plain_table, say
from bench.results import Row
from bench.soak_load import Tally, mixed_load
from bench.soak_look import Look, cpu_ticks, growth, lag, look, number, process_names, scrape
from bench.workloads import TOKEN

BOOT_S, SETTLE_S = 120.0, 10.0
LOOKS = 200  # at least so many, or one each second
PERMITS = "constellation_server_available_permits", "constellation_server_total_permits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a soak found."""

    looks: Sequence[Look]
    lag: Row
    tally: Tally
    left: Row


def main(argv: Sequence[str] | None = None) -> int:
    """Soak as the arguments say; 1 if anything grew, came late, failed or was left."""
    arguments = parser().parse_args(argv)
    try:
        prepare()
        found = asyncio.run(soak(arguments))
    except Failure as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return told(found, arguments.json)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="constellation bench soak", description=__doc__.splitlines()[0]
    )
    made.add_argument("--minutes", type=positive, default=30.0)
    made.add_argument("--warm-seconds", type=positive, default=60.0, help="before what counts")
    made.add_argument("--workers", type=positive_int, default=6, help="that call at once")
    made.add_argument("--pause", type=positive, default=0.1, help="mean seconds between two calls")
    made.add_argument("--seed", type=positive_int, default=1)
    made.add_argument("--json", type=Path, help="file for all numbers")
    return made


async def soak(arguments: argparse.Namespace) -> Found:
    """Start `up`, load it, look at it, and stop it."""
    async with up() as (base, process):
        load = mixed_load(
            base, workers=arguments.workers, pause_s=arguments.pause, seed=arguments.seed
        )
        async with load as tally, bare_loop() as bare:
            await asyncio.sleep(arguments.warm_seconds)
            before, ticks = await pages(base, bare), cpu_ticks()
            looks = await watch(base, process, seconds=arguments.minutes * 60)
            after = await pages(base, bare)
            stolen, of = (now - then for now, then in zip(cpu_ticks(), ticks, strict=True))
        row = {**lag(before, after), "stolen CPU %": 100 * stolen / of}
        return Found(looks=looks, lag=row, tally=tally, left=await left(base))


async def pages(base: str, bare: str) -> tuple[str, str]:
    """Return the metrics of `up`, and of a bare loop."""
    return await asyncio.to_thread(scrape, base), await asyncio.to_thread(scrape, bare)


@asynccontextmanager
async def up() -> AsyncIterator[tuple[str, Process]]:
    """Run `constellation up` on free ports while inside; yield its address."""
    http, grpc = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="cstb") as folder:
        state = Path(folder)
        ports = ["--http-port", str(http), "--grpc-port", str(grpc)]
        command = [*COMMAND, "up", *ports, "--state-dir", str(state / "state")]
        environment = {"CONSTELLATION_TOKEN": TOKEN}
        with running(command, log=state / "up.log", env=environment) as process:

            def is_up() -> bool:
                process.check()
                return "Constellation is up" in process.said(100_000)

            await asyncio.to_thread(until, is_up, seconds=BOOT_S, what="constellation up")
            yield f"http://127.0.0.1:{http}", process


async def watch(base: str, process: Process, *, seconds: float) -> list[Look]:
    """Look at everything, at even times."""
    begin, looks = time.monotonic(), []
    every_s = max(1.0, seconds / LOOKS)
    while (at_s := time.monotonic() - begin) < seconds:
        process.check()
        metrics = await asyncio.to_thread(scrape, base)
        names = await asyncio.to_thread(lambda: process_names(process.tree()))
        looks.append(look(at_s, names, metrics))
        await asyncio.sleep(every_s)
    return looks


async def left(base: str) -> Row:
    """Return what is still held once the load has ended: requests, and permits."""
    end = time.monotonic() + SETTLE_S
    while True:
        metrics = await asyncio.to_thread(scrape, base)
        free, total = (number(metrics, name) for name in PERMITS)
        in_flight = number(metrics, "constellation_entry_in_flight")
        is_clean = free == total > 0 and not in_flight
        if is_clean or time.monotonic() > end:
            verdict = "nothing left" if is_clean else "LEFT"
            return {
                "requests": in_flight,
                "free permits": free,
                "of": total,
                "verdict": verdict,
            }
        await asyncio.sleep(0.2)


def told(found: Found, file: Path | None) -> int:
    """Print the verdicts, write all numbers down, and return the exit code."""
    rows, tally = growth(found.looks), found.tally
    say(plain_table(rows))
    say()
    say(plain_table([found.lag]))
    say()
    say(plain_table([found.left]))
    say()
    failed = tally.failed.total()
    say(f"{tally.total} calls: {tally.answered.total()} as they should, {tally.busy} told 429,")
    say(f"{failed} failed{': ' if failed else ''}{dict(tally.failed) if failed else ''}")
    if file:
        file.write_text(json.dumps(document(found, rows), indent=2) + "\n", "utf-8")
    missed = [f"{row['process']}'s {row['what']}" for row in rows if row["verdict"] != "flat"]
    missed += ["the event loop"] * (found.lag["verdict"] != "kept")
    missed += ["what is left"] * (found.left["verdict"] != "nothing left")
    missed += [f"{failed} calls"] * bool(failed)
    say(f"verdict: {'MISSED by ' + ', '.join(missed) if missed else 'kept'}")
    return int(bool(missed))


def document(found: Found, rows: Sequence[Row]) -> dict[str, Any]:
    """Return all that was seen, for a file."""
    return {
        "growth": rows,
        "lag": found.lag,
        "left": found.left,
        "answered": found.tally.answered,
        "busy": found.tally.busy,
        "failed": found.tally.failed,
        "looks": [
            {"at_s": each.at_s, **{" ".join(key): n for key, n in each.numbers.items()}}
            for each in found.looks
        ],
    }


if __name__ == "__main__":
    raise SystemExit(main())
