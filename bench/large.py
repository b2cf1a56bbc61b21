"""Large payloads: long prompts over HTTP, and whole tensors over the hop alone.

Tensors of megabytes are measured between two processes: a lean client and a lean echo, and
a lean client and a server of the project.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import workloads
from bench.loads import Job
from bench.measure import Clocks, Settings, backend_running, backend_started, run_load
from bench.ours import OURS
from bench.peers import PEERS
from bench.processes import memory_mb
from bench.results import Row
from bench.targets import Started, Target

MEGABYTE = 1_000_000
SIZES = (1 * MEGABYTE, 16 * MEGABYTE)
WORDS = "The quick brown fox jumps over the lazy dog, as it has done so often before. "
PROMPT = WORDS * (150_000 // len(WORDS))  # about 32 thousand tokens
CALLS = 4  # under way at once


def measure(settings: Settings) -> list[Row]:
    """Measure each of them once."""
    targets: list[Target] = [OURS["fused"], OURS["split"]]
    targets += [peer for name, peer in PEERS.items() if name == "envoy" and peer.is_installed()]
    rows = [_prompt(target, settings) for target in targets]
    return [*rows, *_echoes(settings), *_server(settings)]


def _prompt(target: Target, settings: Settings) -> Row:
    ask = workloads.chat(workloads.COALESCED, tokens=16, stream=False, prompt=PROMPT)
    with (
        backend_running() as backend,
        tempfile.TemporaryDirectory(prefix="cstb") as folder,
        target.started(backend, Path(folder)) as started,
    ):
        job = Job(
            mode="closed",
            through=started.address,
            ask=ask,
            seconds=settings.seconds,
            concurrency=8,
        )
        return _row("prompt of 150 KB, one answer", target.name, started, job, len(ask.body))


def _echoes(settings: Settings) -> Iterator[Row]:
    for size in SIZES:
        with backend_started() as (backend, process):
            started = Started(address=backend.grpc, gateway=[process])
            job = _hop("echo", backend.grpc, size, settings)
            yield _row("tensor there and back", "lean echo", started, job, 2 * size)


def _server(settings: Settings) -> Iterator[Row]:
    for size in SIZES:
        with (
            backend_running() as backend,
            tempfile.TemporaryDirectory(prefix="cstb") as folder,
            OURS["split"].started(backend, Path(folder)) as split,
        ):
            started = Started(address=f"unix:{folder}/state/server.sock", gateway=split.gateway[:1])
            job = _hop("infer", started.address, size, settings)
            yield _row("tensor in, passed on", "server", started, job, size)


def _hop(mode: str, address: str, size: int, settings: Settings) -> Job:
    return Job(
        mode=mode,
        through=address,
        ask=workloads.embeddings(),
        seconds=settings.seconds,
        concurrency=CALLS,
        payload_bytes=size,
    )


def _row(what: str, name: str, started: Started, job: Job, size: int) -> Row:
    clocks = Clocks(started)
    found: dict[str, Any] = run_load(job, clocks.mark)
    cost = clocks.row(found["count"])
    return {
        "what": what,
        "target": name,
        "payload_mb": size / MEGABYTE,
        "per_second": found["count"] / found["seconds"],
        "mb_per_s": found["count"] * size / MEGABYTE / found["seconds"],
        "cpu_us": cost["cpu_us"],
        "cpu_us_per_mb": cost["cpu_us"] / (size / MEGABYTE),
        "peak_rss_mb": memory_mb(started.pids(), "VmHWM"),
    }
