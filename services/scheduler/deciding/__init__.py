"""The decision, "priced quantiles": how many instances a model in a region should have."""

from services.scheduler.deciding.series import Series
from services.scheduler.deciding.standing_in import StandIn
from services.scheduler.deciding.values import Decision, Situation, Span

__all__ = ["Decision", "Series", "Situation", "Span", "StandIn"]
