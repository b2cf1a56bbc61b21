"""`constellation simulate`: policies replayed on traces, as tables, JSON and a chart."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from services.scheduler.simulate import chart, report
from services.scheduler.simulate.arguments import ENGINE_FLAGS
from services.scheduler.simulate.choosing import Choice, best_peer, candidates, chosen
from services.scheduler.simulate.conditions import Conditions
from services.scheduler.simulate.engine import Engine
from services.scheduler.simulate.errors import BadOptions
from services.scheduler.simulate.families import CLAIRVOYANT, FAMILIES, NAMES
from services.scheduler.simulate.fleet_command import show_fleet, simulate_fleet
from services.scheduler.simulate.load import ServiceLaw
from services.scheduler.simulate.progress import Progress
from services.scheduler.simulate.results import Result, compared
from services.scheduler.simulate.runs import Done, Run, done
from services.scheduler.simulate.traces import read, read_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be simulated."""

    policies: Sequence[str]
    conditions: Conditions
    choose_on: Sequence[Path]
    show_on: Sequence[Path]

    def to_choose(self) -> list[Run]:
        """Return the runs of all configurations."""
        return [
            Run(
                path=path,
                conditions=self.conditions,
                policy=name,
                configuration=values,
                may_give_up=True,
            )
            for path in self.choose_on
            for name, values in candidates(self.policies)
        ]

    def to_show(self, choices: Mapping[str, Choice]) -> list[Run]:
        """Return a run per policy and trace, as chosen or as published; with the clairvoyant."""
        return [
            Run(
                path=path,
                conditions=self.conditions,
                policy=name,
                configuration=choices[name].configuration if name in choices else _published(name),
            )
            for path in self.show_on
            for name in dict.fromkeys((*self.policies, CLAIRVOYANT))
        ]


def simulate(arguments: argparse.Namespace) -> None:
    """Do what the options say; CannotSimulate if they are wrong, or a trace is."""
    asked = asked_for(arguments)
    _check_outputs(arguments)
    if arguments.nodes is not None:
        _simulate_fleet(asked, arguments)
        return
    with Progress(sys.stderr) as progress:
        choosing, showing = partial(progress.tell, "choosing"), partial(progress.tell, "simulating")
        tried = done(asked.to_choose(), jobs=arguments.jobs, told=choosing)
        slo = asked.conditions.slo
        choices = chosen((each.result for each in tried), slo=slo)
        found = done(asked.to_show(choices), jobs=arguments.jobs, told=showing)
    results = _results(found, choices, asked)
    timing = not arguments.no_timing
    _print(results, choices, asked.conditions, timing=timing)
    if arguments.json:
        written = report.as_json(results, asked.conditions, choices, timing=timing)
        arguments.json.write_bytes(written)
    if arguments.png:
        shown = [
            chart.Drawn(result=each.result, curve=each.curve)
            for each in found
            if each.run.policy in asked.policies
        ]
        chart.draw(shown, arguments.png, slo=slo)


def _simulate_fleet(asked: Asked, arguments: argparse.Namespace) -> None:
    with Progress(sys.stderr) as progress:
        found = simulate_fleet(
            asked.show_on,
            asked.policies,
            asked.conditions,
            nodes=arguments.nodes,
            told=partial(progress.tell, "simulating"),
        )
    show_fleet(found, arguments)


def asked_for(arguments: argparse.Namespace) -> Asked:
    """Check what the options ask for, and the traces."""
    choose_on, show_on = _paths(arguments)
    for paths in (choose_on, show_on):
        # what is wrong with the last one is told before hours have passed
        names = [read(path).name for path in paths]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise BadOptions(f"expected traces of different names, got {twice[0]} twice")
    return Asked(
        policies=_policies(arguments.policy),
        conditions=_conditions(arguments),
        choose_on=choose_on,
        show_on=show_on,
    )


def _paths(arguments: argparse.Namespace) -> tuple[Sequence[Path], Sequence[Path]]:
    several = arguments.choose is not None, arguments.apply is not None
    if arguments.nodes is not None and any(several):
        raise BadOptions("--nodes: expected with --trace, not with --choose and --apply")
    if bool(arguments.trace) == any(several) or any(several) != all(several):
        raise BadOptions("expected either --trace FILE, or --choose DIR and --apply DIR")
    if arguments.trace:
        return (), arguments.trace
    return read_folder(arguments.choose), read_folder(arguments.apply)


def _policies(text: str) -> Sequence[str]:
    names = [name.strip() for name in text.split(",")]
    if names == ["all"]:
        return NAMES
    if unknown := [name for name in names if name not in NAMES]:
        raise BadOptions(f"--policy: expected all or of {', '.join(NAMES)}; got {unknown[0]!r}")
    return [name for name in NAMES if name in names]


def _conditions(arguments: argparse.Namespace) -> Conditions:
    if arguments.max is not None and arguments.max < arguments.min:
        raise BadOptions(f"--max: expected at least --min, {arguments.min}; got {arguments.max}")
    return Conditions(
        permits=arguments.permits,
        service=ServiceLaw(mean_s=arguments.service_mean, cv=arguments.service_cv),
        engine=_engine(arguments),
        boot_s=arguments.boot,
        boot_cv=arguments.boot_cv,
        boot_failures=arguments.boot_failures,
        minimum=arguments.min,
        maximum=arguments.max,
        max_wait_s=arguments.max_wait,
        slo=arguments.slo,
        warmup_days=arguments.warmup_days,
        seed=arguments.seed,
    )


def _engine(arguments: argparse.Namespace) -> Engine | None:
    given = {
        flag: value
        for flag in ENGINE_FLAGS
        if (value := getattr(arguments, flag.field)) is not None
    }
    if given and not arguments.engine:
        names = ", ".join(flag.name for flag in given)
        raise BadOptions(f"{names}: expected only with --engine")
    fields = {flag.field: value for flag, value in given.items()}
    return Engine(**fields) if arguments.engine else None


def _check_outputs(arguments: argparse.Namespace) -> None:
    """See beforehand that what comes out can be written."""
    for flag, path in (("--json", arguments.json), ("--png", arguments.png)):
        if path and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise BadOptions(f"{flag}: expected a file in a folder that exists, got {path}")
    if arguments.png:
        chart.pyplot()


def _published(policy: str) -> Mapping[str, float]:
    return FAMILIES[policy].configurations[0] if policy in FAMILIES else {}


def _results(found: Iterable[Done], choices: Mapping[str, Choice], asked: Asked) -> list[Result]:
    """Return what was asked for, compared trace by trace."""
    slo = asked.conditions.slo
    results = [each.result for each in found]
    peer = best_peer(choices, results, slo=slo)
    by_trace: dict[str, list[Result]] = {}
    for each in results:
        by_trace.setdefault(each.trace, []).append(each)
    return [
        each
        for mine in by_trace.values()
        for each in compared(mine, slo=slo, best_peer=peer)
        if each.policy in asked.policies
    ]


def _print(
    results: Sequence[Result],
    choices: Mapping[str, Choice],
    conditions: Conditions,
    *,
    timing: bool,
) -> None:
    slo = conditions.slo
    print(report.conditions_line(conditions))
    if choices:
        print(f"\n{report.choices_table(choices)}")
    traces = dict.fromkeys(each.trace for each in results)
    for trace in traces:
        mine = [each for each in results if each.trace == trace]
        print(f"\n{report.trace_table(mine, slo=slo, timing=timing)}")
    if len(traces) > 1:
        print(f"\n{report.summary_table(results, slo=slo)}")
    if any(each.late_share > slo for each in results):
        print("\n! above the SLO")
