"""As many instances as the highest peak needs, always: what everyone is compared with.

    n = share x peak

The peak is the trace's true one, known beforehand; a share below 1 leaves it uncovered.
"""

from __future__ import annotations

import math

from services.scheduler.simulate.peers.grid import grid
from services.scheduler.simulate.policy import Family, Observation, Terms

SYNC_S = 60.0


class Static:
    """The same number of instances, always."""

    every_s = SYNC_S

    def __init__(self, terms: Terms, *, share: float) -> None:
        self._instances = math.ceil(share * terms.peak)

    def __repr__(self) -> str:
        return f"<Static {self._instances}>"

    def wanted(self, _: Observation) -> int:
        """Return how many instances there should be."""
        return self._instances


FAMILY = Family(
    name="static",
    make=Static,
    configurations=grid({"share": 1.0}, share=(0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
)
