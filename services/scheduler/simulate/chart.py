"""The chart: for each trace its load, what that requires, the instances, and who was late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.scheduler.simulate.curves import Curve
from services.scheduler.simulate.errors import NoChart
from services.scheduler.simulate.results import Result

COLORS = {
    "static": "#b8b8b8",
    "hpa": "#1f77b4",
    "kpa": "#9467bd",
    "ray": "#8c564b",
    "sky": "#17becf",
    "queue": "#bcbd22",
    "dynamo": "#e377c2",
    "ai5m": "#7f7f7f",
    "hpa-slo": "#6baed6",
    "ours": "#d62728",
    "clairvoyant": "#2ca02c",
}
IN_FRONT = ("ours", "clairvoyant")
WIDTH, HEIGHT = 15, 7  # inches, of one trace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """A policy on a trace."""

    result: Result
    curve: Curve


def pyplot() -> Any:
    """Return what draws into files; NoChart without matplotlib."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise NoChart(f"--png: {error}: expected matplotlib to be installed") from error
    return plt


def draw(done: Sequence[Drawn], path: Path, *, slo: float) -> None:
    """Write the chart as a PNG."""
    plt = pyplot()
    traces = list(dict.fromkeys(each.result.trace for each in done))
    figure, rows = plt.subplots(
        2 * len(traces),
        1,
        figsize=(WIDTH, HEIGHT * len(traces)),
        squeeze=False,
        gridspec_kw={"height_ratios": [3, 1] * len(traces)},
    )
    for place, trace in enumerate(traces):
        mine = [each for each in done if each.result.trace == trace]
        mine.sort(key=lambda each: each.result.policy in IN_FRONT)
        _draw_instances(rows[2 * place][0], trace, mine)
        _draw_late(rows[2 * place + 1][0], mine, slo)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _draw_instances(axes: Any, trace: str, done: Sequence[Drawn]) -> None:
    first = done[0].curve
    required = {"label": "required, most", "step": "post", "color": "#dddddd"}
    axes.fill_between(first.days, first.required, **required)
    for each in done:
        label = f"{each.result.policy}: {each.result.instance_hours:,.0f} h"
        axes.step(each.curve.days, each.curve.instances, label=label, **_line(each))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("instances, paid")
    axes.set_title(trace, fontsize=10)
    beside = axes.twinx()
    beside.plot(first.days, first.load, color="black", lw=0.6, alpha=0.6)
    beside.set_ylim(bottom=0)
    beside.set_ylabel("load: in flight if nobody waits (black)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.05, 1.0), fontsize=8, frameon=False)
    axes.grid(alpha=0.3)


def _draw_late(axes: Any, done: Sequence[Drawn], slo: float) -> None:
    for each in done:
        result, late = each.result, each.curve.late.cumsum()
        shares = 100 * result.late_share * late / max(late[-1], 1)
        label = f"{result.policy}: {result.late_share:.2%}"
        axes.step(each.curve.days, shares, label=label, **_line(each))
    axes.axhline(100 * slo, color="black", lw=0.8, ls="--", label="SLO")
    axes.set_yscale("symlog", linthresh=100 * slo)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("days")
    axes.set_ylabel("late so far, % of all")
    axes.legend(loc="upper left", bbox_to_anchor=(1.05, 1.0), fontsize=7, frameon=False, ncols=2)
    axes.grid(alpha=0.3)


def _line(done: Drawn) -> dict[str, Any]:
    policy = done.result.policy
    width = 1.4 if policy in IN_FRONT else 0.9
    return {"where": "post", "color": COLORS.get(policy, "black"), "lw": width}
