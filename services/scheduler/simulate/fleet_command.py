"""`constellation simulate --nodes`: what policies serve in time on a fleet that models share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from services.scheduler.simulate import chart, report
from services.scheduler.simulate.conditions import Conditions
from services.scheduler.simulate.curves import curve_of
from services.scheduler.simulate.families import CLAIRVOYANT
from services.scheduler.simulate.fleet_runs import (
    FleetDone,
    fleet_trials,
    on_fleet,
    over_commitment,
)
from services.scheduler.simulate.progress import Progress
from services.scheduler.simulate.results import Result, p99_ms, result_of

HEADS = (
    "policy",
    "in time %",
    "x clairvoyant",
    "dropped",
    "actions",
    "started",
    "used %",
    "p99 ms",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetResult:
    """What a policy served of all that was asked for; work is seconds of service."""

    policy: str
    work_in_time_share: float
    ratio_to_clairvoyant: float
    dropped: int
    scale_actions: int
    instances_started: int
    used_share: float  # of the places
    decision_p99_ms: float | None

    def as_json(self) -> Mapping[str, Any]:
        """Return its fields; times that were not measured are left out."""
        fields = asdict(self)
        if self.decision_p99_ms is None:
            del fields["decision_p99_ms"]
        return fields


def simulate_fleet(
    arguments: argparse.Namespace,
    paths: Sequence[Path],
    policies: Sequence[str],
    conditions: Conditions,
    progress: Progress,
) -> None:
    """Simulate all policies and the clairvoyant; print, and write what was asked for."""
    nodes, timing = arguments.nodes, not arguments.no_timing
    trials = fleet_trials(paths, conditions, nodes=nodes)
    names = list(dict.fromkeys((*policies, CLAIRVOYANT)))
    found = []
    for number, name in enumerate(names):
        told = partial(_tell, progress, number, len(names))
        found.append(on_fleet(name, trials, nodes=nodes, told=told))
    best = found[-1].work_in_time
    shown = [each for each in found if each.policy in policies]
    figures = [_figures(each, nodes=nodes, best=best, timing=timing) for each in shown]
    results = [each for one in shown for each in _results(one, timing=timing)]
    progress.clear()
    over = over_commitment(trials, nodes)
    print(f"{report.conditions_line(conditions)}\n{nodes} places, over-committed {over:.2f} times")
    print(f"\n{_fleet_table(figures)}\n\n{_traces_table(results)}")
    if arguments.json:
        told_json = {"conditions": conditions.told(), "nodes": nodes, "over_committed": over}
        written = told_json | {
            "fleet": [each.as_json() for each in figures],
            "results": [each.as_json() for each in results],
        }
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        arguments.json.write_bytes(orjson.dumps(written, option=options))
    if arguments.png:
        chart.draw(_drawn(shown), arguments.png, slo=conditions.slo)


def _tell(progress: Progress, number: int, of: int, share: float) -> None:
    progress.tell("simulating", (number + share) / of)


def _figures(done: FleetDone, *, nodes: int, best: float, timing: bool) -> FleetResult:
    load = done.trials[0].load
    seconds = load.seconds - load.warmup_s
    return FleetResult(
        policy=done.policy,
        work_in_time_share=done.work_in_time / max(done.work, 1e-9),
        ratio_to_clairvoyant=done.work_in_time / max(best, 1e-9),
        dropped=sum(each.dropped for each in done.outcomes),
        scale_actions=sum(each.scale_actions for each in done.outcomes),
        instances_started=sum(each.instances_started for each in done.outcomes),
        used_share=sum(each.paid_s for each in done.outcomes) / (nodes * seconds),
        decision_p99_ms=p99_ms(done.decisions_ns) if timing else None,
    )


def _results(done: FleetDone, *, timing: bool) -> list[Result]:
    """Return the figures of each trace."""
    return [
        result_of(
            outcome,
            policy=done.policy,
            trace=trial.load.name,
            configuration=done.configuration,
            p99_ms=p99_ms(done.decisions_ns) if timing else None,
        )
        for trial, outcome in zip(done.trials, done.outcomes, strict=True)
    ]


def _drawn(shown: Sequence[FleetDone]) -> list[chart.Drawn]:
    return [
        chart.Drawn(result=result, curve=curve_of(outcome, trial.load, trial.terms))
        for done in shown
        for result, outcome, trial in zip(
            _results(done, timing=False), done.outcomes, done.trials, strict=True
        )
    ]


def _fleet_table(figures: Sequence[FleetResult]) -> str:
    rows = [
        (
            each.policy,
            f"{100 * each.work_in_time_share:.2f}",
            f"{each.ratio_to_clairvoyant:.3f}",
            f"{each.dropped:,}",
            f"{each.scale_actions:,}",
            f"{each.instances_started:,}",
            f"{100 * each.used_share:.1f}",
            "-" if each.decision_p99_ms is None else f"{each.decision_p99_ms:.3f}",
        )
        for each in figures
    ]
    return f"work served in time\n{report.table(HEADS, rows)}"


def _traces_table(results: Sequence[Result]) -> str:
    """Return the requests in time of each trace."""
    traces = list(dict.fromkeys(each.trace for each in results))
    shares = {(each.policy, each.trace): 1 - each.late_share for each in results}
    rows = [
        (policy, *(f"{100 * shares[policy, trace]:.2f}" for trace in traces))
        for policy in dict.fromkeys(each.policy for each in results)
    ]
    return f"requests in time, %\n{report.table(('policy', *traces), rows)}"
