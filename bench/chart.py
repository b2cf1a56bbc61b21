"""The chart: CPU per workload and target as grouped bars, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.processes import NotThere
from bench.report import number
from bench.results import UNITS, Row

OURS = {"fused": "#d1495b", "split": "#edae49", "split_2_entries": "#8d96a3"}
THEIRS = ("#00798c", "#30638e", "#66a182", "#2e4057", "#7a9e9f", "#4f6d7a", "#9fb8ad", "#5b8e7d")


def pyplot() -> Any:
    """Return what draws into files; NotThere without matplotlib."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise NotThere(f"no chart: {error}; `make setup` installs matplotlib") from error
    return plt


def draw(found: Sequence[Row], path: Path, *, subtitle: str) -> None:
    """Write the chart as a PNG; NotThere without matplotlib."""
    plt = pyplot()
    workloads = [name for name in UNITS if any(row["workload"] == name for row in found)]
    targets = order(found)
    figure, axes = plt.subplots(figsize=(3 + 0.5 * len(workloads) * len(targets), 6))
    width = 0.86 / max(len(targets), 1)
    for at, target in enumerate(targets):
        rows = {row["workload"]: row for row in found if row["target"] == target}
        places = [i for i, name in enumerate(workloads) if name in rows]
        costs = [rows[workloads[i]]["cpu_us"] for i in places]
        errors = [
            [c - rows[workloads[i]]["cpu_us_min"] for c, i in zip(costs, places, strict=True)],
            [rows[workloads[i]]["cpu_us_max"] - c for c, i in zip(costs, places, strict=True)],
        ]
        offset = (at - (len(targets) - 1) / 2) * width
        color = OURS.get(target, THEIRS[at % len(THEIRS)])
        spots = [place + offset for place in places]
        bars = axes.bar(spots, costs, width * 0.92, yerr=errors, color=color, label=target)
        axes.bar_label(bars, [number(cost) for cost in costs], padding=3, fontsize=7, rotation=90)
    axes.set_yscale("log")
    axes.margins(y=0.15)
    axes.set_xticks(range(len(workloads)), [f"{w}\n(per {UNITS[w]})" for w in workloads])
    axes.set_ylabel("CPU microseconds, log scale: less is better")
    axes.set_title(f"What a gateway costs\n{subtitle}", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def order(found: Sequence[Row]) -> list[str]:
    """Return the targets, ours first, the others from the cheapest on."""
    names = dict.fromkeys(row["target"] for row in found)
    cost = {name: min(row["cpu_us"] for row in found if row["target"] == name) for name in names}
    return sorted(names, key=lambda name: (name not in OURS, _rank(name), cost[name]))


def _rank(name: str) -> int:
    return list(OURS).index(name) if name in OURS else len(OURS)
