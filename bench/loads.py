"""The ways to load over HTTP: in turns, at a rate, at a pace, idle, and not reading."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

from bench.client import Connection, Pool
from bench.summary import percentile
from bench.ticker import Ticker
from bench.workloads import Ask

DRAIN_S = 20.0
APART_S = 0.0021  # between the beginnings of paced streams: no two tokens fall together
AT_ONCE = 64  # connections that are opened at once
Mark = Callable[[str], None]
Numbers = dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one load process does."""

    mode: str
    through: str
    ask: Ask
    direct: str = ""
    direct_ask: Ask | None = None
    seconds: float = 3.0
    warm_s: float = 0.5
    concurrency: int = 32
    rate: float = 100.0
    step_s: float = 0.02  # between two tokens of a paced stream
    sources: int = 1  # addresses to connect from
    payload_bytes: int = 0  # of a hop
    ca: str = ""  # file with the certificate that TLS is checked against; empty: no TLS


async def closed(job: Job, ticker: Ticker, mark: Mark) -> Numbers:
    """Keep `concurrency` requests or streams under way; count what ends, and every frame."""
    counted = {"answers": 0, "frames": 0}
    ending = False

    def done(connection: Connection) -> None:
        counted["answers"] += 1
        if not ending:
            connection.send()

    def frames(count: int) -> None:
        counted["frames"] += count

    with closing(Pool(job.through, job.ask, ca=job.ca)) as pool:
        for _ in range(job.concurrency):
            connection = await pool.open()
            connection.on_done, connection.on_frames = done, frames
            connection.send()
        await pool.wait(job.warm_s)
        before, began = dict(counted), time.monotonic()
        mark("begin")
        await pool.wait(job.seconds)
        elapsed, after = time.monotonic() - began, dict(counted)
        mark("end")
        ending = True
        await pool.drained(DRAIN_S)
    return {
        "count": after["frames" if job.ask.tokens else "answers"]
        - before["frames" if job.ask.tokens else "answers"],
        "frames_per_answer": after["frames"] / max(after["answers"], 1),
        "seconds": elapsed,
    }


async def latency(job: Job, ticker: Ticker, mark: Mark) -> Numbers:
    """Ask at a fixed rate, in turns through the target and directly; nobody waits for answers."""
    assert job.direct_ask is not None
    taken: tuple[list[float], list[float]] = ([], [])
    missed, every = 0, 0.5 / job.rate
    first, last = int(job.warm_s / every), int((job.warm_s + job.seconds) / every)
    with (
        closing(Pool(job.through, job.ask, ca=job.ca)) as through,
        closing(Pool(job.direct, job.direct_ask)) as direct,
    ):
        pools = (through, direct)
        for pool, times in zip(pools, taken, strict=True):
            for _ in range(job.concurrency):
                (await pool.open()).on_done = _timed(times)
        began = time.monotonic() + every
        for at in range(last):
            await ticker.sleep_until(began + at * every)
            if at == first:
                mark("begin")
                missed = _forget(taken)
            missed += not pools[at % 2].ask()
        mark("end")
        for pool in pools:
            await pool.drained(DRAIN_S)
    found: Numbers = {"missed": missed, "count": len(taken[0])}
    for name, values in zip(("through", "direct"), taken, strict=True):
        found[f"{name}_p50_us"] = percentile(values, 0.5)
        found[f"{name}_p99_us"] = percentile(values, 0.99)
    return found


async def paced(job: Job, ticker: Ticker, mark: Mark) -> Numbers:
    """Hold `concurrency` streams; how far from their pace do their tokens come?"""
    arrivals: list[list[float]] = []
    with closing(Pool(job.through, job.ask, ca=job.ca, sources=job.sources)) as pool:
        for _ in range(job.concurrency):
            (await pool.open()).on_frames = _noted(arrivals)
        began = time.monotonic() + 0.01
        for at, connection in enumerate(pool.connections):
            await ticker.sleep_until(began + at * APART_S)
            connection.send()
        await pool.wait(job.warm_s)
        since = time.monotonic()
        mark("begin")
        await pool.wait(job.seconds)
        until = time.monotonic()
        mark("end")
        await pool.drained(DRAIN_S)
    windows = [[when for when in each if since <= when <= until] for each in arrivals]
    gaps = [b - a for each in windows for a, b in pairwise(each)]
    off = [abs(gap - job.step_s) * 1e6 for gap in gaps]
    return {
        "count": sum(map(len, windows)),
        "seconds": until - since,
        "jitter_p50_us": percentile(off, 0.5),
        "jitter_p99_us": percentile(off, 0.99),
    }


async def idle(job: Job, ticker: Ticker, mark: Mark) -> Numbers:
    """Hold `concurrency` connections that have been used once; nothing happens on them."""
    with closing(Pool(job.through, job.ask, ca=job.ca, sources=job.sources)) as pool:
        while len(pool.connections) < job.concurrency:
            for _ in range(min(AT_ONCE, job.concurrency - len(pool.connections))):
                (await pool.open()).send()
            await pool.drained(DRAIN_S)
        await pool.wait(job.warm_s)
        mark("begin")
        await pool.wait(job.seconds)
        mark("end")
        lost = sum(each.is_closed for each in pool.connections)
    return {"count": job.concurrency, "seconds": job.seconds, "lost": lost}


async def stuck(job: Job, ticker: Ticker, mark: Mark) -> Numbers:
    """Ask for long streams, and stop reading when they have begun."""
    with closing(Pool(job.through, job.ask, ca=job.ca)) as pool:
        for _ in range(job.concurrency):
            connection = await pool.open()
            connection.on_frames = _stopping(connection)
            connection.send()
        await pool.wait(job.warm_s)
        mark("begin")
        await pool.wait(job.seconds)
        mark("end")
        frames = sum(each.frames for each in pool.connections)
    return {"count": frames, "seconds": job.seconds}


def _stopping(connection: Connection) -> Callable[[int], None]:
    return lambda count: connection.pause_reading()


def _forget(taken: tuple[list[float], list[float]]) -> int:
    """Begin anew: what came so far was to warm up."""
    for values in taken:
        values.clear()
    return 0


def _timed(taken: list[float]) -> Callable[[Connection], None]:
    return lambda connection: taken.append((time.monotonic() - connection.sent_at) * 1e6)


def _noted(arrivals: list[list[float]]) -> Callable[[int], None]:
    times: list[float] = []
    arrivals.append(times)
    return lambda count: times.extend([time.monotonic()] * count)


MODES: Mapping[str, Callable[[Job, Ticker, Mark], object]] = {
    "closed": closed,
    "latency": latency,
    "paced": paced,
    "idle": idle,
    "stuck": stuck,
}
