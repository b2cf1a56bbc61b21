"""The chart of `bench affinity`: adapters loaded and prompts read again, by how one chooses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.chart import pyplot
from bench.report import number
from bench.results import Row
from bench.summary import Spread, spread

COLORS = {"affinity": "#d1495b", "perfect": "#66a182", "emptier": "#30638e", "random": "#8d96a3"}
LABELS = {
    "affinity": "affinity",
    "perfect": "perfect router",
    "emptier": "emptier of two",
    "random": "random",
}
PANELS = (
    ("adapters", "loads", "adapter loads per 1,000 calls, log scale"),
    ("adapters", "fullest", "in flight of the fullest endpoint / mean"),
    ("conversations", "read_again", "% of prompts read again, though known elsewhere"),
)
MOST_FULLEST = 1.25


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the chart as a PNG; NotThere without matplotlib."""
    plt = pyplot()
    figure, all_axes = plt.subplots(1, len(PANELS), figsize=(12, 4.2))
    for axes, (workload, field, label) in zip(all_axes, PANELS, strict=True):
        found = _by_choice(rows, workload, field)
        middles = [each.median for each in found.values()]
        errors = [
            [each.median - each.lowest for each in found.values()],
            [each.highest - each.median for each in found.values()],
        ]
        bars = axes.bar(
            [LABELS[name] for name in found],
            middles,
            0.7,
            yerr=errors,
            color=[COLORS[name] for name in found],
        )
        axes.bar_label(bars, [number(middle) for middle in middles], padding=3, fontsize=8)
        axes.set_title(f"{workload}: less is better", fontsize=9)
        axes.set_ylabel(label, fontsize=9)
        axes.tick_params(axis="x", labelsize=8)
        axes.margins(y=0.15)
        axes.grid(axis="y", alpha=0.3)
        if field == "loads":
            axes.set_yscale("log")
        if field == "fullest":
            axes.set_ylim(0.9, 1.3)
            axes.axhline(MOST_FULLEST, color="black", linestyle="--", linewidth=0.8)
    seeds = len({row["seed"] for row in rows})
    figure.suptitle(f"Choice of an endpoint in simulated time, {seeds} seeds", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _by_choice(rows: Sequence[Row], workload: str, field: str) -> dict[str, Spread]:
    found = {}
    for name in LABELS:
        chosen = (row for row in rows if (row["workload"], row["choice"]) == (workload, name))
        if middle := spread(row[field] for row in chosen):
            found[name] = middle
    return found
