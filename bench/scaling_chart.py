"""The chart of `bench scaling`: what was asked for, what was there, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bench.chart import pyplot
from bench.scaling_load import Call
from libs.common.explanation import Explanation


class Run(Protocol):
    """What is drawn."""

    @property
    def began(self) -> float:
        """Seconds since 1970."""
        ...

    @property
    def step_s(self) -> float:
        """Seconds of each step."""
        ...

    @property
    def loads(self) -> Sequence[float]:
        """Calls in flight of each step."""
        ...

    @property
    def calls(self) -> Sequence[Call]:
        """What became of each call."""
        ...

    @property
    def told(self) -> Explanation:
        """What was decided."""
        ...


def draw(run: Run, path: Path, *, permits: int, late_s: float) -> None:
    """Write the chart as a PNG; NotThere without matplotlib."""
    plt = pyplot()
    decisions = sorted(run.told.decisions, key=lambda each: each.at_ms)
    at = [(each.at_ms / 1000 - run.began) / 60 for each in decisions]
    figure, axes = plt.subplots(figsize=(10, 5))
    edges = [number * run.step_s / 60 for number in range(len(run.loads) + 1)]
    axes.stairs(run.loads, edges, color="#8d96a3", fill=True, alpha=0.3, label="load asked for")
    axes.plot(at, [each.demand for each in decisions], color="#30638e", label="demand measured")
    axes.plot(
        at,
        [each.forecast for each in decisions],
        color="#edae49",
        linestyle=":",
        label="demand to cover",
    )
    lines = (
        ("required", [each.required for each in decisions], "--", "#66a182"),
        ("ready", [each.running for each in decisions], "-", "#d1495b"),
    )
    for name, instances, style, color in lines:
        axes.step(
            at,
            [permits * each for each in instances],
            where="post",
            linestyle=style,
            color=color,
            label=f"permits of the instances {name}",
        )
    late = [call for call in run.calls if call.first_s >= late_s]
    if late:
        axes.scatter(
            [call.at_s / 60 for call in late],
            [0.0] * len(late),
            marker="|",
            color="black",
            label=f"{len(late)} of {len(run.calls)} calls waited {late_s:g} s or more",
        )
    failed = sum(call.status != 200 for call in run.calls)
    axes.set_title(f"A load that doubles and halves: {len(run.calls)} calls, {failed} failed")
    axes.set_xlabel("minutes")
    axes.set_ylabel("requests in flight and queued, permits")
    axes.set_xlim(0, edges[-1])
    axes.set_ylim(bottom=-0.5)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)
