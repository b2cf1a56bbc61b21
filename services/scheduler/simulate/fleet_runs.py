"""Policies on models that share a fleet, one trace for each model."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.scheduler.simulate.conditions import Conditions, Trial, trial_on
from services.scheduler.simulate.errors import BadOptions
from services.scheduler.simulate.families import CLAIRVOYANT, FAMILIES
from services.scheduler.simulate.fixed_fleet import replay_fleet, work_in_time
from services.scheduler.simulate.fleet_clairvoyant import fleet_clairvoyant
from services.scheduler.simulate.policy import Values
from services.scheduler.simulate.replay import Told
from services.scheduler.simulate.service import Outcome
from services.scheduler.simulate.traces import Trace, read


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetDone:
    """A policy with what came of each trace; work is seconds of service."""

    policy: str
    configuration: Values
    trials: Sequence[Trial]
    outcomes: Sequence[Outcome]
    decisions_ns: array[int]

    @property
    def work(self) -> float:
        """What was asked for."""
        each = zip(self.trials, self.outcomes, strict=True)
        return sum(outcome.requests * trial.load.service_mean_s for trial, outcome in each)

    @property
    def work_in_time(self) -> float:
        """What was served within the SLO."""
        return sum(self.works_in_time)

    @property
    def works_in_time(self) -> list[float]:
        """The same, of each trace."""
        each = zip(self.trials, self.outcomes, strict=True)
        return [work_in_time([trial.load], [outcome]) for trial, outcome in each]


def fleet_trials(paths: Sequence[Path], conditions: Conditions, *, nodes: int) -> list[Trial]:
    """Read the traces and draw their requests, for as long as the shortest goes."""
    least = conditions.minimum * len(paths)
    if nodes < least:
        raise BadOptions(
            f"--nodes: expected at least {least}: --min {conditions.minimum} for each of "
            f"{len(paths)} traces; got {nodes}"
        )
    traces = [read(path) for path in paths]
    step = math.lcm(*(trace.bin_s for trace in traces))
    seconds = min(trace.seconds for trace in traces) // step * step
    if not seconds:
        raise BadOptions("--nodes: expected traces that have some time in common")
    return [trial_on(_cut(trace, seconds), conditions) for trace in traces]


def over_commitment(trials: Sequence[Trial], nodes: int) -> float:
    """Return how many times the fleet would be needed if all had their peak at once."""
    return sum(trial.terms.peak for trial in trials) / nodes


def on_fleet(policy: str, trials: Sequence[Trial], *, nodes: int, told: Told) -> FleetDone:
    """Have a policy, as published, scale all models."""
    times = array("q")
    configuration: Values = {}
    if policy == CLAIRVOYANT:
        outcomes = fleet_clairvoyant(
            lambda: [trial.new_certain_service() for trial in trials], nodes, told=told
        )
    else:
        family = FAMILIES[policy]
        configuration = family.configurations[0]
        policies = [family.make(trial.terms, **configuration) for trial in trials]
        services = [trial.new_service() for trial in trials]
        outcomes, times = replay_fleet(services, policies, nodes, told=told)
    return FleetDone(
        policy=policy,
        configuration=configuration,
        trials=trials,
        outcomes=outcomes,
        decisions_ns=times,
    )


def _cut(trace: Trace, seconds: int) -> Trace:
    bins = seconds // trace.bin_s
    return replace(
        trace,
        requests=trace.requests[:bins],
        mean_service_s=trace.mean_service_s[:bins],
        mean_in_tokens=trace.mean_in_tokens[:bins],
        mean_out_tokens=trace.mean_out_tokens[:bins],
    )
