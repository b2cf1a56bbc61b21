"""Falling back: a call whose model has no room, or fails, goes on to the next of its chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from libs.common.clock import Clock
from libs.common.deadline import fix
from libs.common.errors import (
    HopsUsedUp,
    ModelFailed,
    ModelStarting,
    OutOfCapacity,
    QueueTimeUsedUp,
    RequestError,
    StreamLost,
    Unavailable,
)
from libs.common.fallbacks import chain
from libs.common.world import World
from services.entry.calls import Call, Fallen, Plan
from services.entry.limits import within
from services.entry.metrics import EntryMetrics

MENDED: Final = (  # what another model may do better
    OutOfCapacity,
    HopsUsedUp,
    QueueTimeUsedUp,
    ModelStarting,
    Unavailable,
    StreamLost,
    ModelFailed,
)


class FallingBack:
    """Turns the plan of a call that failed into that of the next model; costs others nothing."""

    def __init__(
        self,
        *,
        colo: str,
        world: World,
        plan: Callable[[Call, str], Plan],
        metrics: EntryMetrics,
        clock: Clock,
    ) -> None:
        """`plan` plans a call for a fallback of the model that it names."""
        self._colo = colo
        self._world = world
        self._plan = plan
        self._metrics = metrics
        self._clock = clock

    def __repr__(self) -> str:
        return f"<FallingBack in {self._colo}>"

    def onward(
        self, plan: Plan, error: RequestError, tried: int, *, has_begun: bool = False
    ) -> None:
        """Make the plan that of the next model which takes the call.

        Raises the error where there is none, or that of the model which was asked for;
        `tried` is how many places of its model the call has been at. An answer that has
        begun is not begun again.
        """
        fallen = plan.fallen
        if has_begun or not isinstance(error, MENDED):
            raise error
        if fallen is None:
            if not plan.model.fallbacks:
                raise error
            deadline = fix(plan.request.time_bounds, plan.began)
            fallen = plan.fallen = Fallen(error, chain(plan.model, self._world.model), deadline)
        while fallen.rest:
            now = self._clock.now()
            if not fallen.deadline.until_first(now):
                break
            following = self._following(plan.call, fallen.rest.pop(0).name)
            if following is not None:
                self._metrics.fallbacks[self._colo, plan.model.name, following.model.name] += 1
                within(following.request, fallen.deadline.remaining(now))
                following.request.attempt = max(tried, 1)
                following.request.falls_back = bool(fallen.rest)
                plan.becomes(following)
                return
        raise fallen.error

    def _following(self, call: Call, name: str) -> Plan | None:
        """Return the call's plan for a model, None where that does not take it."""
        try:
            return self._plan(call, name)
        except RequestError:  # it is not for this account, or this input
            return None
