"""`constellation bench slow_reader`: clients that stop reading must not fill the gateway's memory.

Some ask for 100 MB each and read no further once it has begun. Meanwhile others' streams are
held against the same streams before.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import canned, workloads
from bench.arguments import names, positive, positive_int
from bench.loads import Job
from bench.measure import backend_running, run_load
from bench.ours import OURS
from bench.peers import PEERS
from bench.processes import memory_mb, prepare
from bench.report import told
from bench.results import Row
from bench.targets import Started, Target

TARGETS: Mapping[str, Target] = {**OURS, **PEERS}
OTHERS = 20  # streams at a pace, beside those that are stuck
SETTLE_S = 1.5


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the arguments name; 1 if that could not be done."""
    arguments = parser().parse_args(argv)

    def rows() -> list[Row]:
        prepare()
        return [measure(name, arguments) for name in arguments.targets]

    return told(rows, arguments.json)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="constellation bench slow_reader", description=__doc__.splitlines()[0]
    )
    made.add_argument("--targets", type=names(TARGETS), default="fused,split")
    made.add_argument("--readers", type=positive_int, default=4, help="that stop")
    made.add_argument("--megabytes", type=positive_int, default=100, help="that each asks for")
    made.add_argument("--seconds", type=positive, default=5.0)
    made.add_argument("--json", type=Path, help="file for the numbers")
    return made


def measure(name: str, arguments: argparse.Namespace) -> Row:
    """Hold one gateway's memory and others' pace against what they were before."""
    target = TARGETS[name]
    target.install()
    with (
        backend_running() as backend,
        tempfile.TemporaryDirectory(prefix="cstb") as folder,
        target.started(backend, Path(folder)) as started,
    ):
        alone = run_load(_others(started, arguments.seconds), lambda _: None)
        seen = {"before": memory_mb(started.pids())}

        def look(mark: str) -> None:
            seen[mark] = memory_mb(started.pids())

        with ThreadPoolExecutor() as pool:
            stuck = pool.submit(run_load, _stuck(started, arguments), look)
            beside: dict[str, Any] = run_load(_others(started, arguments.seconds), lambda _: None)
            stuck.result()
    return {
        "target": name,
        "stuck": f"{arguments.readers} of {arguments.megabytes} MB",
        "rss_before_mb": seen["before"],
        "rss_mb": seen["end"],
        "grown_mb_each": (seen["end"] - seen["before"]) / arguments.readers,
        "peak_grown_mb": max(seen.values()) - seen["before"],
        "jitter_p99_us_alone": alone["jitter_p99_us"],
        "jitter_p99_us_beside": beside["jitter_p99_us"],
    }


def _others(started: Started, seconds: float) -> Job:
    tokens = int((seconds + SETTLE_S + 1.0) / workloads.STEP_S)
    return Job(
        mode="paced",
        through=started.address,
        ask=workloads.chat(workloads.PACED, tokens=tokens),
        seconds=seconds,
        warm_s=SETTLE_S,
        concurrency=OTHERS,
        ca=started.ca,
    )


def _stuck(started: Started, arguments: argparse.Namespace) -> Job:
    frame = len(canned.token_frame(workloads.COALESCED, 0))
    tokens = arguments.megabytes * 1_000_000 // frame
    return Job(
        mode="stuck",
        through=started.address,
        ask=workloads.chat(workloads.COALESCED, tokens=tokens),
        seconds=arguments.seconds + SETTLE_S,
        warm_s=0.2,
        concurrency=arguments.readers,
        ca=started.ca,
    )


if __name__ == "__main__":
    raise SystemExit(main())
