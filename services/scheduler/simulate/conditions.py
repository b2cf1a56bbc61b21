"""What is the same for every policy of a run: the servers, the bounds, the SLO, the seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from services.scheduler.simulate.boots import BootLaw, Boots
from services.scheduler.simulate.engine import Engine, with_services
from services.scheduler.simulate.engine_queue import EngineQueue
from services.scheduler.simulate.instances import Instances
from services.scheduler.simulate.load import Load, ServiceLaw, load_of
from services.scheduler.simulate.policy import Terms
from services.scheduler.simulate.queue_model import Queue
from services.scheduler.simulate.service import Requests, Service
from services.scheduler.simulate.tokens import tokens_of
from services.scheduler.simulate.traces import Trace, read

DAY_S = 86_400
SPARE = 1.25  # the maximum over the true peak, where none is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The model behind the figures; they depend on it."""

    permits: int = 8
    service: ServiceLaw = field(default_factory=ServiceLaw)
    engine: Engine | None = None  # in place of service times
    boot_s: float = 120.0
    boot_cv: float = 0.0
    boot_failures: float = 0.0  # share
    minimum: int = 1
    maximum: int | None = None  # SPARE times the true peak
    max_wait_s: int = 60
    slo: float = 0.003
    warmup_days: float = 7.0
    seed: int = 1

    def told(self) -> Mapping[str, Any]:
        """Return them by name, for a record."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """A trace under these conditions: every policy begins with the same requests."""

    load: Load
    terms: Terms
    conditions: Conditions
    new_requests: Callable[[], Requests]

    def new_service(self) -> Service:
        """Return one to be scaled; boots vary and fail as the conditions say."""
        asked = self.conditions
        law = BootLaw(mean_s=asked.boot_s, cv=asked.boot_cv, failures=asked.boot_failures)
        return self._service(law)

    def new_certain_service(self) -> Service:
        """Return one whose boots take what they should, for who knows it all beforehand."""
        return self._service(BootLaw(mean_s=self.conditions.boot_s))

    def _service(self, boots: BootLaw) -> Service:
        instances = Instances(
            seconds=self.load.seconds,
            ready=self.terms.minimum,
            boot_s=Boots(boots, self.conditions.seed),
        )
        return Service(self.load, self.new_requests(), instances, self.terms)


def trial_of(path: Path, conditions: Conditions) -> Trial:
    """Read a trace and draw its requests."""
    return trial_on(read(path), conditions)


def trial_on(trace: Trace, conditions: Conditions) -> Trial:
    """Draw a trace's requests."""
    permits, seed, engine = conditions.permits, conditions.seed, conditions.engine
    if engine:
        trace = with_services(trace, engine, permits)
    warmup_s = round(conditions.warmup_days * DAY_S)
    load = load_of(trace, conditions.service, warmup_s=warmup_s, seed=seed)
    new_requests: Callable[[], Requests]
    if engine:
        tokens = tokens_of(load, trace, cv=engine.tokens_cv, seed=seed)
        new_requests = partial(EngineQueue, load, tokens=tokens, engine=engine)
    else:
        new_requests = partial(Queue, load)
    return Trial(
        load=load,
        terms=terms_of(load, conditions),
        conditions=conditions,
        new_requests=partial(
            new_requests, permits=permits, max_wait_s=conditions.max_wait_s, seed=seed
        ),
    )


def terms_of(load: Load, conditions: Conditions) -> Terms:
    """Return what policies may know beforehand."""
    peak = load.peak(conditions.permits)
    maximum = conditions.maximum
    if maximum is None:
        maximum = max(conditions.minimum, math.ceil(SPARE * peak))
    return Terms(
        permits=conditions.permits,
        boot_s=conditions.boot_s,
        minimum=conditions.minimum,
        maximum=maximum,
        slo=conditions.slo,
        service_mean_s=load.service_mean_s,
        peak=peak,
    )
