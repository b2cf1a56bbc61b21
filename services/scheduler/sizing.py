"""From the demand of each model in each region to how many instances there should be.

Values in, values out: the loop and a simulation decide with the same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from libs.common.catalog import Model
from libs.common.world_map import Decision, Override
from services.scheduler.capacity import Limits, Requirement, limits, required_instances
from services.scheduler.damping import Damping
from services.scheduler.history import History
from services.scheduler.ports import Forecaster
from services.scheduler.usage import Key, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is decided on, and when."""

    models: Mapping[str, Model]
    overrides: Sequence[Override]
    usage: Mapping[Key, Usage]
    current: Mapping[Key, int]  # instances that there should be as of now
    at: float
    unix_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """How a model in a region is sized."""

    usage: Usage
    limits: Limits
    demand: float
    forecast: float
    requirement: Requirement
    desired: int
    held: str

    def decision(self, key: Key, *, at_ms: int, unmet: str) -> Decision:
        """Return it as the record that is kept."""
        why = (self.requirement.reason, self.held, unmet)
        return Decision(
            model=key.model,
            region=key.region,
            at_ms=at_ms,
            demand=self.demand,
            forecast=self.forecast,
            running=self.usage.running,
            required=self.requirement.instances,
            desired=self.desired,
            reason="; ".join(each for each in why if each),
        )


class Sizer:
    """Forecast, requirement, damping; remembers what each of them needs to."""

    def __init__(
        self,
        *,
        forecaster: Forecaster,
        history: History,
        damping: Damping,
        target_utilization: float,
    ) -> None:
        self._forecaster = forecaster
        self._history = history
        self._damping = damping
        self._target_utilization = target_utilization

    def measure(self, usage: Mapping[Key, Usage]) -> None:
        """Take in a look at the demand between two decisions."""
        self._history.measure(usage)

    def size(self, moment: Moment) -> dict[Key, Sizing]:
        """Decide for every model in every region."""
        self._history.measure(moment.usage)
        self._history.record(moment.at)
        self._damping.forget(set(moment.usage))
        return {key: self._size(key, usage, moment) for key, usage in moment.usage.items()}

    def _size(self, key: Key, usage: Usage, moment: Moment) -> Sizing:
        model = moment.models[key.model]
        bounds = limits(model, key.region, moment.overrides, now_ms=moment.unix_ms)
        history = self._history.of(key)
        forecast = self._forecaster.forecast(history, moment.at)
        requirement = required_instances(
            forecast,
            permits=model.permits.per_instance,
            target_utilization=self._target_utilization,
            limits=bounds,
        )
        current = moment.current.get(key, 0)
        desired, held = self._damping.desired(
            key, requirement.instances, current=current, at=moment.at
        )
        if bounds.frozen:
            desired, held = current, "frozen"
        return Sizing(
            usage=usage,
            limits=bounds,
            demand=history[-1].demand if history else 0.0,
            forecast=forecast,
            requirement=requirement,
            desired=desired,
            held=held,
        )
