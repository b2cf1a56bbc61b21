"""What the scheduler's loop needs: a forecaster, and a fleet to act on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.scheduler.history import Sample
from services.scheduler.placement import FleetState
from services.scheduler.plan import Plan


class Forecaster(Protocol):
    """Says what the demand will be, from what it was."""

    def forecast(self, history: Sequence[Sample], at: float) -> float:
        """Return the demand expected from `at` on until a later decision helps."""
        ...


class Fleet(Protocol):
    """Where instances run."""

    def state(self) -> FleetState:
        """Return the nodes, and what each of them should run as of now."""
        ...

    async def apply(self, plan: Plan) -> None:
        """Make the plan the fleet's aim; raises RequestError when that failed in part."""
        ...
