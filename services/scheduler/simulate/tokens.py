"""How many tokens each request reads and writes, drawn around what a trace says of its bin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.scheduler.simulate.load import Load
from services.scheduler.simulate.traces import Floats, Trace

TOKENS = 4  # the stream of random numbers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tokens:
    """Of each request of a load, at least one of either kind."""

    read: NDArray[np.uint32]
    written: NDArray[np.uint32]


def tokens_of(load: Load, trace: Trace, *, cv: float, seed: int) -> Tokens:
    """Draw them, lognormal with this coefficient of variation; the trace must say every mean."""
    rng = np.random.default_rng([seed, TOKENS])
    bins = np.repeat(np.arange(load.seconds) // trace.bin_s, load.arrivals)
    return Tokens(
        read=_drawn(trace.mean_in_tokens[bins], cv, rng),
        written=_drawn(trace.mean_out_tokens[bins], cv, rng),
    )


def _drawn(means: Floats, cv: float, rng: np.random.Generator) -> NDArray[np.uint32]:
    variance = np.log1p(cv**2)  # of the logarithm
    around = rng.lognormal(-variance / 2, np.sqrt(variance), len(means))
    return np.maximum(np.rint(means * around), 1).astype(np.uint32)
