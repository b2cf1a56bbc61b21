"""What is the same for every policy of a run: the servers, the bounds, the SLO, the seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from services.scheduler.simulate.load import Load, ServiceLaw, load_of
from services.scheduler.simulate.policy import Terms
from services.scheduler.simulate.service import Service, queue_service
from services.scheduler.simulate.traces import read

DAY_S = 86_400
SPARE = 1.25  # the maximum over the true peak, where none is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The model behind the figures; they depend on it."""

    permits: int = 8
    service: ServiceLaw = field(default_factory=ServiceLaw)
    boot_s: float = 120.0
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
    new_service: Callable[[], Service]


def trial_of(path: Path, conditions: Conditions) -> Trial:
    """Read a trace and draw its requests."""
    load = load_of(
        read(path),
        conditions.service,
        warmup_s=round(conditions.warmup_days * DAY_S),
        seed=conditions.seed,
    )
    terms = terms_of(load, conditions)

    def new_service() -> Service:
        wait_s, seed = conditions.max_wait_s, conditions.seed
        return queue_service(load, terms, max_wait_s=wait_s, seed=seed)

    return Trial(load=load, terms=terms, new_service=new_service)


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
