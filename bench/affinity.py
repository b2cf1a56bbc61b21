"""`constellation bench affinity`: what a server's choice of an endpoint saves, in simulated time.

The code that decides is the server's own, and so is what hashes prompts; calls, their times and
what endpoints hold are made up. Nothing is started, and a seed gives the same numbers each time.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import adapters, conversations
from bench.adapters import FEW, RESIDENT
from bench.affinity_chart import draw
from bench.arguments import positive_int
from bench.conversations import Perfect
from bench.fleet import Choice, at_random, emptier, ours
from bench.processes import Failure
from bench.report import say, table, verdict_table, with_spread
from bench.results import Row
from bench.summary import spread
from bench.verdict import Bar

LOADS = Bar(
    ours="affinity", theirs="random", workload="adapters", field="loads, %", must=25, aim=15
)
HITS = Bar(
    ours="affinity",
    theirs="perfect",
    workload="conversations",
    field="hits, %",
    must=90,
    aim=90,
    is_floor=True,
)
EVEN = Bar(
    ours="fullest", theirs="mean", workload="adapters", field="in flight", must=1.25, aim=1.25
)
WAYS: dict[str, dict[str, Choice]] = {
    "adapters": {"affinity": ours, "emptier": emptier, "random": at_random},
    "conversations": {"affinity": ours, "emptier": emptier, "perfect": Perfect()},
}
WAYS["adapters, few places"] = WAYS["adapters"]
HEADS = {
    "loads": "loads per 1,000 calls",
    "hits": "prompt known, %",
    "read_again": "known elsewhere, %",
    "fullest": "fullest / mean",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate what the arguments say; 1 if a bar is missed or nothing could be written."""
    arguments = parser().parse_args(argv)
    rows = []
    try:
        for row in measure(
            range(1, arguments.seeds + 1), warm_up=arguments.warm_up, requests=arguments.requests
        ):
            rows.append(row)
            say(f"seed {row['seed']}, {row['workload']}: {row['choice']}")
        told = verdicts(rows)
        say(f"\n{summary(rows)}\n\n{verdict_table(told)}")
        if arguments.json:
            found = {"rows": rows, "verdicts": told}
            arguments.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
        if arguments.png:
            draw(rows, arguments.png)
    except Failure as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return int(any(each["verdict"] == "MISSED" for each in told))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="constellation bench affinity", description=__doc__.splitlines()[0]
    )
    made.add_argument("--seeds", type=positive_int, default=5)
    made.add_argument("--requests", type=positive_int, default=18_000, help="that are counted")
    made.add_argument("--warm-up", type=positive_int, default=2_000, help="requests before those")
    made.add_argument("--json", type=Path, help="file for the numbers")
    made.add_argument("--png", type=Path, help="file for a chart")
    return made


def measure(seeds: Sequence[int], *, warm_up: int, requests: int) -> Iterator[Row]:
    """Yield what each way to choose makes of each seed's calls."""
    for seed, (workload, ways) in itertools.product(seeds, WAYS.items()):
        for name, pick in ways.items():
            if workload == "conversations":
                found = conversations.measure(pick, seed=seed, warm_up=warm_up, requests=requests)
            else:
                resident = FEW if workload.endswith("few places") else RESIDENT
                found = adapters.measure(
                    pick, seed=seed, warm_up=warm_up, requests=requests, resident=resident
                )
            yield {"workload": workload, "choice": name, "seed": seed, **found}


def verdicts(rows: Sequence[Row]) -> list[Row]:
    """Return each bar with its median, its spread over the seeds, and what the worst means."""
    return [
        _verdict(LOADS, _percent(rows, LOADS, "loads")),
        _verdict(EVEN, values(rows, "adapters", "affinity", "fullest")),
        _verdict(HITS, _percent(rows, HITS, "hits")),
    ]


def summary(rows: Sequence[Row]) -> str:
    """Return a line for each workload and way to choose: medians over the seeds, and spreads."""
    cells = []
    for workload, ways in WAYS.items():
        for name in ways:
            told = [_spelled(values(rows, workload, name, field)) for field in HEADS]
            cells.append([f"{workload}: {name}", *told])
    return table(("choice", *HEADS.values()), cells)


def values(rows: Sequence[Row], workload: str, choice: str, field: str) -> list[float]:
    """Return a field seed by seed; empty where it has none."""
    return [
        row[field]
        for row in rows
        if (row["workload"], row["choice"]) == (workload, choice) and field in row
    ]


def _spelled(found: Sequence[float]) -> str:
    middle = spread(found)
    if middle is None:
        return "-"
    return with_spread({"": middle.median, "_min": middle.lowest, "_max": middle.highest}, "")


def _verdict(bar: Bar, found: Sequence[float]) -> Row:
    middle = spread(found)
    assert middle is not None
    return {
        "what": bar.text,
        "ratio": middle.median,
        "ratio_min": middle.lowest,
        "ratio_max": middle.highest,
        "must": bar.must,
        "aim": bar.aim,
        "verdict": bar.verdict(middle.lowest if bar.is_floor else middle.highest),
    }


def _percent(rows: Sequence[Row], bar: Bar, field: str) -> list[float]:
    mine = values(rows, bar.workload, bar.ours, field)
    others = values(rows, bar.workload, bar.theirs, field)
    return [100 * one / other for one, other in zip(mine, others, strict=True)]


if __name__ == "__main__":
    raise SystemExit(main())
