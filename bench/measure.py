"""One measurement: a load process runs, and between its marks the target's clocks are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from bench import workloads
from bench.loads import DRAIN_S, Job
from bench.processes import Failure, Process, cpu_seconds, memory_mb, stop
from bench.summary import difference
from bench.targets import Backend, Started
from bench.workloads import STEP_S, TOKENS, Ask

Row = dict[str, Any]
ROOT = Path(__file__).parents[1]
MARGIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much is measured."""

    seconds: float = 3.0
    warm_s: float = 0.5
    rounds: int = 3
    connections: int = 32
    streams: int = 32
    paced_streams: int = 200
    tokens: int = TOKENS  # of a coalesced stream
    rate: float = 100.0


@contextmanager
def backend_running() -> Iterator[Backend]:
    """Run the backend while inside."""
    with backend_started() as (backend, _):
        yield backend


@contextmanager
def backend_started() -> Iterator[tuple[Backend, Process]]:
    """Run the backend while inside, as something to measure itself."""
    command = [sys.executable, "-m", "bench.backend"]
    popen = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert popen.stdin
    assert popen.stdout
    try:
        line = popen.stdout.readline()
        if not line:
            raise Failure("the backend did not start")
        yield Backend(**json.loads(line)), Process(popen, Path(os.devnull))
    finally:
        popen.stdin.close()
        stop(popen)
        popen.stdout.close()


def run_load(job: Job, on_mark: Callable[[str], None]) -> dict[str, Any]:
    """Run one load process to its end; Failure for a wrong answer, or if it takes too long."""
    bound = job.seconds + job.warm_s + DRAIN_S + MARGIN_S
    popen = subprocess.Popen(
        [sys.executable, "-m", "bench.load"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert popen.stdin
    assert popen.stdout
    watchdog = threading.Timer(bound, popen.kill)
    watchdog.start()
    try:
        popen.stdin.write(msgspec.json.encode(job) + b"\n")
        popen.stdin.flush()
        for line in popen.stdout:
            message = json.loads(line)
            if "mark" in message:
                on_mark(message["mark"])
            elif "error" in message:
                raise Failure(message["error"])
            else:
                found: dict[str, Any] = message["result"]
                return found
        raise Failure(f"the load generator ended without a result (bound: {bound:g} s)")
    finally:
        watchdog.cancel()
        popen.stdin.close()
        stop(popen)
        popen.stdout.close()


class Clocks:
    """What a target's processes used between two marks."""

    def __init__(self, started: Started) -> None:
        self._gateway = started.pids()
        self._beside = started.pids_beside()
        self._begin: dict[str, float] = {}
        self._used: dict[str, float] = {}
        self.memory_mb = 0.0

    def mark(self, name: str) -> None:
        """Read all clocks."""
        groups = {"gateway": self._gateway, **self._beside}
        now = {group: cpu_seconds(pids) for group, pids in groups.items()}
        if name == "begin":
            self._begin = now
        else:
            self._used = {group: used - self._begin[group] for group, used in now.items()}
            self.memory_mb = memory_mb(self._gateway)

    def row(self, count: float) -> Row:
        """Return what each unit of work cost."""
        if not count:
            raise Failure("not one answer or token came while it was measured: try more --seconds")
        if self._used["gateway"] <= 0:
            raise Failure("it took less CPU than one tick of the kernel: try more --seconds")
        each = {group: used * 1e6 / count for group, used in self._used.items()}
        return {
            "cpu_us": each["gateway"],
            "rps_per_core": 1e6 / each["gateway"],
            "collector_cpu_us": each.get("collector"),
            "control_cpu_us": each.get("control"),
            "rss_mb": self.memory_mb,
        }


def loaded(started: Started, job: Job) -> tuple[Row, dict[str, Any]]:
    """Run a load and return what a unit of it cost, and what the load process found."""
    clocks = Clocks(started)
    found = run_load(job, clocks.mark)
    generator = {name: found[name] for name in ("generator_cpu_share", "generator_late_p99_us")}
    return clocks.row(found["count"]) | {
        "rps": found["count"] / found["seconds"]
    } | generator, found


def unary(started: Started, backend: Backend, ask: Ask, settings: Settings) -> Row:
    """Cost under load, then the latency that the target adds at a low rate."""
    connections = settings.connections * started.entries  # as many for each: they share a batch
    load = job(started, ask, settings, mode="closed", concurrency=connections)
    row, _ = loaded(started, load)
    found = run_load(
        replace(load, mode="latency", direct=backend.http, direct_ask=ask, concurrency=8), _ignore
    )
    for share in ("p50", "p99"):
        through, direct = found[f"through_{share}_us"], found[f"direct_{share}_us"]
        row[f"added_{share}_us"] = difference(through, direct)
        row[f"direct_{share}_us"] = direct
    row["missed"] = found["missed"]
    return row


def stream_coalesced(started: Started, backend: Backend, ask: Ask, settings: Settings) -> Row:
    """Cost per token where many come at once."""
    load = job(started, ask, settings, mode="closed", concurrency=settings.streams)
    return loaded(started, load)[0]


def stream_paced(started: Started, backend: Backend, ask: Ask, settings: Settings) -> Row:
    """Cost per token where each comes alone, and how far from its time; the same directly."""
    load = job(started, ask, settings, mode="paced", concurrency=settings.paced_streams)
    load = replace(load, warm_s=settings.warm_s + 0.6)  # until all have begun
    row, found = loaded(started, load)
    direct = run_load(replace(load, through=backend.http, ca=""), _ignore)
    due = settings.paced_streams / STEP_S
    return row | {
        "kept_pace": row["rps"] / due,
        "jitter_p50_us": found["jitter_p50_us"],
        "jitter_p99_us": found["jitter_p99_us"],
        "direct_jitter_p99_us": direct["jitter_p99_us"],
    }


def lasting(settings: Settings) -> float:
    """Return how long a paced stream must be for all to last through the measurement."""
    return settings.seconds + settings.warm_s + 1.0


MEASURES: dict[str, Callable[[Started, Backend, Ask, Settings], Row]] = {
    "unary": unary,
    "stream_coalesced": stream_coalesced,
    "stream_paced": stream_paced,
}
assert set(MEASURES) == set(workloads.NAMES)


def job(started: Started, ask: Ask, settings: Settings, *, mode: str, concurrency: int) -> Job:
    """Return a load of so many requests or streams at once."""
    return Job(
        mode=mode,
        through=started.address,
        ask=ask,
        seconds=settings.seconds,
        warm_s=settings.warm_s,
        concurrency=concurrency,
        rate=settings.rate,
        ca=started.ca,
    )


def _ignore(_: str) -> None:
    pass
