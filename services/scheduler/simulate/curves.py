"""What a chart shows of a run: its seconds in a thousand pieces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.scheduler.simulate.load import Load
from services.scheduler.simulate.policy import Terms
from services.scheduler.simulate.service import Outcome

PIECES = 1000
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """One value per piece, from the end of the warm-up."""

    days: Numbers  # when each piece begins
    load: Numbers  # in flight if nobody waits, mean
    required: Numbers  # instances for it, the most of a piece
    instances: Numbers  # paid, mean
    late: Numbers  # requests


def curve_of(outcome: Outcome, load: Load, terms: Terms) -> Curve:
    """Return what an outcome looks like."""
    counted = slice(load.warmup_s, load.seconds)
    seconds = load.seconds - load.warmup_s
    starts = np.unique(np.linspace(0, seconds, min(PIECES, seconds), endpoint=False, dtype=int))
    lengths = np.diff(starts, append=seconds)
    demand = load.demand[counted].astype(np.float64)
    return Curve(
        days=(starts + load.warmup_s) / 86_400,
        load=np.add.reduceat(demand, starts) / lengths,
        required=np.ceil(np.maximum.reduceat(load.used()[counted], starts) / terms.permits),
        instances=np.add.reduceat(outcome.paid[counted], starts) / lengths,
        late=np.add.reduceat(outcome.late_by[counted], starts).astype(np.float64),
    )
