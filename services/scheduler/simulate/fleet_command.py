"""`constellation simulate --nodes`: what policies serve in time on a fleet that models share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
from services.scheduler.simulate.replay import Told
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

    def as_json(self, *, timing: bool) -> Mapping[str, Any]:
        """Return its fields, with or without what was measured."""
        fields = asdict(self)
        if not timing:
            del fields["decision_p99_ms"]
        return fields


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Simulated:
    """All that there is to be shown."""

    conditions: Conditions
    nodes: int
    over_committed: float
    shown: Sequence[FleetDone]
    most: Sequence[float]  # work in time of each trace, by the clairvoyant

    def figures(self) -> list[FleetResult]:
        """Return the figures of each policy."""
        return [_figures(each, nodes=self.nodes, most=sum(self.most)) for each in self.shown]

    def results(self) -> list[Result]:
        """Return the figures of each policy on each trace, beside the clairvoyant's work there."""
        return [
            replace(result, ratio_to_clairvoyant=work / max(most, 1e-9))
            for done in self.shown
            for result, work, most in zip(
                _results(done), done.works_in_time, self.most, strict=True
            )
        ]


def simulate_fleet(
    paths: Sequence[Path],
    policies: Sequence[str],
    conditions: Conditions,
    *,
    nodes: int,
    told: Told,
) -> Simulated:
    """Simulate all policies, and the clairvoyant to compare with."""
    trials = fleet_trials(paths, conditions, nodes=nodes)
    names = list(dict.fromkeys((*policies, CLAIRVOYANT)))
    found = []
    for number, name in enumerate(names):
        share = partial(_told_share, told, number, len(names))
        found.append(on_fleet(name, trials, nodes=nodes, told=share))
    return Simulated(
        conditions=conditions,
        nodes=nodes,
        over_committed=over_commitment(trials, nodes),
        shown=[each for each in found if each.policy in policies],
        most=next(each.works_in_time for each in found if each.policy == CLAIRVOYANT),
    )


def show_fleet(simulated: Simulated, arguments: argparse.Namespace) -> None:
    """Print, and write what was asked for."""
    figures, results = simulated.figures(), simulated.results()
    timing = not arguments.no_timing
    print(report.conditions_line(simulated.conditions))
    print(f"{simulated.nodes} places, over-committed {simulated.over_committed:.2f} times")
    print(f"\n{_fleet_table(figures, timing=timing)}\n\n{_traces_table(results)}")
    if arguments.json:
        written = {
            "conditions": simulated.conditions.told(),
            "nodes": simulated.nodes,
            "over_committed": simulated.over_committed,
            "fleet": [each.as_json(timing=timing) for each in figures],
            "results": [each.as_json(timing=timing) for each in results],
        }
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        arguments.json.write_bytes(orjson.dumps(written, option=options))
    if arguments.png:
        chart.draw(_drawn(simulated.shown), arguments.png, slo=simulated.conditions.slo)


def _told_share(told: Told, number: int, of: int, share: float) -> None:
    told((number + share) / of)


def _figures(done: FleetDone, *, nodes: int, most: float) -> FleetResult:
    load = done.trials[0].load
    seconds = load.seconds - load.warmup_s
    return FleetResult(
        policy=done.policy,
        work_in_time_share=done.work_in_time / max(done.work, 1e-9),
        ratio_to_clairvoyant=done.work_in_time / max(most, 1e-9),
        dropped=sum(each.dropped for each in done.outcomes),
        scale_actions=sum(each.scale_actions for each in done.outcomes),
        instances_started=sum(each.instances_started for each in done.outcomes),
        used_share=sum(each.paid_s for each in done.outcomes) / (nodes * seconds),
        decision_p99_ms=p99_ms(done.decisions_ns),
    )


def _results(done: FleetDone) -> list[Result]:
    """Return the figures of each trace."""
    return [
        result_of(
            outcome,
            policy=done.policy,
            trace=trial.load.name,
            configuration=done.configuration,
            p99_ms=p99_ms(done.decisions_ns),
        )
        for trial, outcome in zip(done.trials, done.outcomes, strict=True)
    ]


def _drawn(shown: Sequence[FleetDone]) -> list[chart.Drawn]:
    return [
        chart.Drawn(result=result, curve=curve_of(outcome, trial.load, trial.terms))
        for done in shown
        for result, outcome, trial in zip(_results(done), done.outcomes, done.trials, strict=True)
    ]


def _fleet_table(figures: Sequence[FleetResult], *, timing: bool) -> str:
    columns = len(HEADS) if timing else len(HEADS) - 1
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
        )[:columns]
        for each in figures
    ]
    return f"work served in time\n{report.table(HEADS[:columns], rows)}"


def _traces_table(results: Sequence[Result]) -> str:
    """Return the requests in time of each trace."""
    traces = list(dict.fromkeys(each.trace for each in results))
    shares = {(each.policy, each.trace): 1 - each.late_share for each in results}
    rows = [
        (policy, *(f"{100 * shares[policy, trace]:.2f}" for trace in traces))
        for policy in dict.fromkeys(each.policy for each in results)
    ]
    return f"requests in time, %\n{report.table(('policy', *traces), rows)}"
