"""`constellation bench capacity`: what idle connections and held streams cost in memory."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import workloads
from bench.arguments import names, positive, positive_int
from bench.loads import Job
from bench.measure import backend_running, run_load
from bench.ours import OURS
from bench.peers import PEERS
from bench.processes import NotThere, memory_mb, prepare
from bench.report import say, told
from bench.results import Row
from bench.targets import Started, Target

SPARE_FILES = 500  # for all that is no connection of a client
SOURCE_PORTS = 20_000  # connections from one address; the system has 28,000 ports to choose from
TARGETS: Mapping[str, Target] = {**OURS, **PEERS}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the arguments name; 1 if that could not be done."""
    arguments = parser().parse_args(argv)

    def rows() -> list[Row]:
        most = prepare() - SPARE_FILES
        return [row for name in arguments.targets for row in measure(name, arguments, most)]

    return told(rows, arguments.json)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="constellation bench capacity", description=__doc__)
    made.add_argument("--targets", type=names(TARGETS), default="fused", help="of ours, or peers")
    made.add_argument("--connections", type=positive_int, default=10_000)
    made.add_argument("--streams", type=positive_int, default=1_000)
    made.add_argument("--seconds", type=positive, default=5.0, help="that they are held")
    made.add_argument("--json", type=Path, help="file for the numbers")
    return made


def measure(name: str, arguments: argparse.Namespace, most: int) -> list[Row]:
    """Hold connections, then streams, on a gateway that is started anew for each."""
    rows = []
    for what, wanted in (("idle", arguments.connections), ("streams", arguments.streams)):
        count = min(wanted, most)
        if count < wanted:
            say(f"note: {count} and not {wanted}: the system allows {most} open files (ulimit -n)")
        rows.append(_held(TARGETS[name], what, count, arguments.seconds))
    return rows


def _held(target: Target, what: str, count: int, seconds: float) -> Row:
    target.install()
    with ExitStack() as stack:
        backend = stack.enter_context(backend_running())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cstb"))
        started = stack.enter_context(target.started(backend, Path(folder)))
        job = _job(started, what, count, seconds)
        run_load(_job(started, what, 20, 1.0), lambda _: None)  # what is made once is made now
        seen = {"before": memory_mb(started.pids())}

        def look(name: str) -> None:
            seen[name] = memory_mb(started.pids())

        found = run_load(job, look)
    if found.get("lost"):
        raise NotThere(f"{target.name} hung up {found['lost']:g} of {count} idle connections")
    return {
        "target": target.name,
        "held": f"{count} {'idle connections' if what == 'idle' else 'streams'}",
        "rss_before_mb": seen["before"],
        "rss_mb": seen["end"],
        "kb_each": (seen["end"] - seen["before"]) * 1000 / count,
    }


def _job(started: Started, what: str, count: int, seconds: float) -> Job:
    sources = 1 + count // SOURCE_PORTS
    if what == "idle":
        ask = workloads.embeddings()
        return Job(
            mode="idle",
            through=started.address,
            ask=ask,
            seconds=seconds,
            concurrency=count,
            sources=sources,
        )
    warm_s = 2.0 + count * 0.003  # until all have begun
    tokens = int((seconds + warm_s + 2.0) / workloads.SLOW_STEP_S) + 1
    return Job(
        mode="paced",
        through=started.address,
        ask=workloads.chat(workloads.SLOW, tokens=tokens),
        seconds=seconds,
        warm_s=warm_s,
        concurrency=count,
        step_s=workloads.SLOW_STEP_S,
        sources=sources,
    )


if __name__ == "__main__":
    raise SystemExit(main())
