"""Policies on traces, one after the other or in several processes."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context, parent_process
from pathlib import Path

from services.scheduler.simulate.clairvoyant import clairvoyant
from services.scheduler.simulate.conditions import Conditions, Trial, trial_of
from services.scheduler.simulate.curves import Curve, curve_of
from services.scheduler.simulate.errors import Lost
from services.scheduler.simulate.families import CLAIRVOYANT, FAMILIES
from services.scheduler.simulate.policy import Values
from services.scheduler.simulate.replay import Told, replay
from services.scheduler.simulate.results import Result, p99_ms, result_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A policy with a configuration, on a trace; over the SLO it may be given up early."""

    path: Path
    conditions: Conditions
    policy: str
    configuration: Values
    may_give_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Done:
    """A run with its figures, and what its chart shows."""

    run: Run
    result: Result
    curve: Curve


def done(runs: Sequence[Run], *, jobs: int, told: Told) -> list[Done]:
    """Do all of them, in this order; `told` hears which share is done."""
    return list(_here(runs, told) if jobs == 1 else _in_processes(runs, jobs, told))


def _here(runs: Sequence[Run], told: Told) -> Iterator[Done]:
    for number, run in enumerate(runs):
        yield _do(run, partial(_told_share, told, number, len(runs)))


def _told_share(told: Told, number: int, of: int, share: float) -> None:
    told((number + share) / of)


def _do(run: Run, told: Told) -> Done:
    trial = _trial(run.path, run.conditions)
    load, times = trial.load, None
    if run.policy == CLAIRVOYANT:
        outcome = clairvoyant(trial.new_certain_service)
    else:
        requests = int(load.first[-1] - load.first[load.warmup_s])
        most_late = math.floor(run.conditions.slo * requests) if run.may_give_up else None
        policy = FAMILIES[run.policy].make(trial.terms, **run.configuration)
        outcome, decisions_ns = replay(trial.new_service(), policy, most_late=most_late, told=told)
        times = p99_ms(decisions_ns)
    result = result_of(
        outcome,
        policy=run.policy,
        trace=load.name,
        configuration=run.configuration,
        p99_ms=times,
    )
    told(1.0)
    return Done(run=run, result=result, curve=curve_of(outcome, load, trial.terms))


@lru_cache(maxsize=1)  # runs come by trace, and a load is large
def _trial(path: Path, conditions: Conditions) -> Trial:
    return trial_of(path, conditions)


def _in_processes(runs: Sequence[Run], jobs: int, told: Told) -> Iterator[Done]:
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_die_with_parent) as pool:
        try:
            futures = [pool.submit(_do, run, _to_nobody) for run in runs]
            for count, future in enumerate(as_completed(futures), start=1):
                future.result()
                told(count / len(runs))
            yield from (future.result() for future in futures)
        except BrokenProcessPool as error:
            raise Lost("a process that simulated is gone: is there memory for --jobs?") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _to_nobody(share: float) -> None:
    del share


def _die_with_parent() -> None:
    """Have this process end with the one that started it, and silently when interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = parent_process()

    def watch() -> None:
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
