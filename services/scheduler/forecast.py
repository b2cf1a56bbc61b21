"""What the demand will be."""

from __future__ import annotations

from collections.abc import Sequence

from services.scheduler.history import Sample


class LastValue:
    """Nothing changes: hard to beat over a few minutes. Implements `ports.Forecaster`."""

    def forecast(self, history: Sequence[Sample], at: float) -> float:
        """Return the last demand, 0 where there is none."""
        del at
        return history[-1].demand if history else 0.0
