"""What a soak looks at, again and again, and whether it grows."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeAlias

from bench.processes import PROC
from bench.results import Row

# What may come on top between the second quarter of the time and the last, as a share and at least.
GROWTH: Mapping[str, tuple[float, float]] = {
    "memory_mb": (0.02, 1.0),
    "descriptors": (0.0, 2.0),
    "threads": (0.0, 1.0),
    "tasks": (0.0, 2.0),
}
LAG_S, MOST_LATE = 0.005, 1.0  # of 1,000 looks
LAG = "constellation_event_loop_lag_seconds"
Pages: TypeAlias = tuple[str, str]  # of metrics: of `up`, and of a bare loop


@dataclass(frozen=True, slots=True)
class Look:
    """One look at all processes: numbers by process and by what they count."""

    at_s: float
    numbers: Mapping[tuple[str, str], float]


def look(at_s: float, names: Mapping[int, str], metrics: str) -> Look:
    """Look at processes by pid, and at the metrics that one of them shows."""
    numbers: dict[tuple[str, str], float] = {}
    for pid, name in names.items():
        with suppress(OSError):  # it has just ended
            numbers |= {(name, what): value for what, value in _of_process(pid)}
    tasks = number(metrics, "constellation_event_loop_tasks")
    return Look(at_s, numbers | {("up", "tasks"): tasks})


def _of_process(pid: int) -> Iterable[tuple[str, float]]:
    folder = PROC / str(pid)
    lines = (folder / "status").read_text().splitlines()
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    if "RssAnon" not in told:  # it has ended, and nobody has heard of that yet
        return
    yield "memory_mb", int(told["RssAnon"].split()[0]) * 1024 / 1e6  # files' pages come and go
    yield "threads", float(told["Threads"])
    yield "descriptors", float(len(os.listdir(folder / "fd")))


def process_names(pids: Iterable[int]) -> dict[int, str]:
    """Return a short name for each process: its command, or what it runs and its pid."""
    found = {}
    for pid in pids:
        with suppress(OSError):
            command = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
            found[pid] = _name(pid, command.split("\0"))
    return found


def _name(pid: int, words: Sequence[str]) -> str:
    if "services.cli" in words:
        return words[words.index("services.cli") + 1]
    modules = [word for word in words if word.startswith("services.")]
    programs = [Path(word).name for word in words[:1]]
    return f"{(modules or programs or ['?'])[0].rpartition('.')[2]} {pid}"


def scrape(base: str) -> str:
    """Return the metrics' page."""
    with urllib.request.urlopen(f"{base}/metrics", timeout=10) as response:
        return str(response.read().decode())


def number(metrics: str, name: str, labels: str = "") -> float:
    """Return the sum of a metric's values whose labels have this text."""
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in metrics.splitlines()
        if line.split("{", 1)[0].split(" ", 1)[0] == name and labels in line
    )


def growth(looks: Sequence[Look]) -> list[Row]:
    """Return a row per process and number: before, after, and whether that is flat.

    What is compared are medians of the second quarter of the time and of the last; processes
    that were not there all the time are left out.
    """
    quarter = max(1, len(looks) // 4)
    early, late = looks[quarter : 2 * quarter] or looks[:1], looks[-quarter:]
    always = set.intersection(*(set(each.numbers) for each in looks))
    rows = []
    for name, what in sorted(always):
        before, after = (median(x.numbers[name, what] for x in part) for part in (early, late))
        share, least = GROWTH[what]
        bound = max(least, share * before)
        rows.append(
            {
                "process": name,
                "what": what,
                "early": before,
                "late": after,
                "grown": after - before,
                "allowed": bound,
                "verdict": "flat" if after - before <= bound else "GROWS",
            }
        )
    return rows


def lag(before: Pages, after: Pages) -> Row:
    """Return how many looks at the loop were late by more than LAG_S, and the verdict.

    A bare loop beside it is late where the machine is: what counts is what comes on top of that.
    """
    (looks, late), (_, bare) = map(_late, before, after)
    return {
        "what": f"event loop late by more than {LAG_S * 1000:g} ms",
        "looks": looks,
        "of 1,000": late,
        "a bare loop": bare,
        "must": MOST_LATE + bare,
        "verdict": "kept" if late <= MOST_LATE + bare else "MISSED",
    }


def _late(before: str, after: str) -> tuple[float, float]:
    """Return how many looks there were between two pages, and how many of 1,000 were late."""
    bound = f'le="{LAG_S}"'
    within = number(after, f"{LAG}_bucket", bound) - number(before, f"{LAG}_bucket", bound)
    looks = number(after, f"{LAG}_count") - number(before, f"{LAG}_count")
    return looks, 1000 * (1 - within / looks) if looks else 1000.0


def cpu_ticks() -> tuple[float, float]:
    """Return what a hypervisor gave to others of this machine's CPU time so far, and all of it."""
    ticks = [float(word) for word in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[-1], sum(ticks)
