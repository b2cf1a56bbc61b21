"""Falling over: the next place after one that failed, and what to say when all have."""

from __future__ import annotations

import asyncio
from typing import Final

from libs.common.clock import Clock
from libs.common.deadline import fix
from libs.common.envelope import InferRequest, Outcome
from libs.common.errors import (
    HopsUsedUp,
    ModelStarting,
    OutOfCapacity,
    RequestError,
    ServerLost,
    Unavailable,
)
from libs.common.ranking import Place, wish_of
from services.entry.calls import Plan
from services.entry.routing import Routes

WAIT_FOR_A_SERVER_MS: Final = 2000
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 0.5
FULL: Final = (OutOfCapacity, HopsUsedUp)
WORDS: Final = (
    *FULL,
    ModelStarting,
)  # what says most to the caller first; else it is the last error


class Attempts:
    """Where one call has been, and why each could not serve it."""

    __slots__ = (
        "_clock",
        "_pause_s",
        "_plan",
        "_routes",
        "_tried",
        "_wait_s",
        "errors",
        "moved",
        "place",
    )

    def __init__(self, plan: Plan, routes: Routes, clock: Clock, wait_s: float) -> None:
        """Wait at most `wait_s` for a server to come back, where all of them are lost."""
        self.place = plan.place
        self.moved = False  # the place is not the planned one
        self.errors: list[RequestError] = []
        self._plan = plan
        self._routes = routes
        self._clock = clock
        self._wait_s = wait_s
        self._pause_s = FIRST_PAUSE_S
        self._tried: list[Place] = []

    def __repr__(self) -> str:
        return f"<Attempts {len(self.errors)} of {self._plan.model.name}>"

    def request(self) -> InferRequest:
        """Return what is sent now: the first time as planned, then with the time that is left."""
        plan, place, clock = self._plan, self.place, self._clock
        assert place is not None
        if place.is_watched:
            place.sends(clock.now())
        if not self.moved:
            return plan.request
        request = plan.request.copy()
        request.attempt = plan.request.attempt + len(self.errors)
        request.shard = place.shard
        request.shard_epoch = place.epoch
        now = clock.now()
        request.time_bounds = fix(request.time_bounds, plan.began).remaining(now)
        if request.max_queue_ms:
            waited_ms = int(1000 * (now - plan.began))
            request.max_queue_ms = max(1, request.max_queue_ms - waited_ms)
        return request

    def answered(self, outcome: Outcome, began: float = 0.0) -> None:
        """Learn from the answer; of one that came at once, how far away it is from here."""
        place = self.place
        if place is not None and place.is_watched:
            self._routes.answered(place, outcome, 0.0 if self.moved else began)

    def broke(self, error: RequestError) -> None:
        """Learn from the error of a stream that goes on elsewhere."""
        if self.place is not None:
            self._routes.places.refused(self.place, error)

    async def after(self, error: RequestError) -> Place:
        """Return where to go after an error; raises what no other place could mend.

        A server that was lost before anything reached the model is left for the next one at
        once; where there is none, the next owner of its shard is waited for.
        """
        place = self.place
        if place is not None:
            self._routes.places.refused(place, error)
            self._tried.append(place)
        if not error.retryable or error.sent:
            raise error
        self.errors.append(error)
        return await self.another()

    async def another(self) -> Place:
        """Return where to go next; raises what is to be said where there is nothing left."""
        model, wish = self._plan.model.name, wish_of(self._plan.request)
        while True:
            is_full = any(isinstance(each, FULL) for each in self.errors)
            place = self._routes.to(model, wish, without=self._tried, with_room=is_full)
            if place is not None:
                self.place, self.moved = place, True
                return place
            await self._pause()

    async def _pause(self) -> None:
        """Give servers time to come back, if it is that what the call needs."""
        lost = all(isinstance(each, ServerLost) for each in self.errors)
        if not lost or not self._routes.may_come(self._plan.model.name):
            raise self.verdict()
        plan, now = self._plan, self._clock.now()
        until_first = fix(plan.request.time_bounds, plan.began).until_first(now)
        left = min(until_first, plan.began + self._wait_s - now)
        if left <= 0:
            raise self.verdict()
        await asyncio.sleep(min(self._pause_s, left))
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._tried.clear()

    def verdict(self) -> RequestError:
        """Return the one error that stands for all, with the shortest wait that was named."""
        if not self.errors:
            text = f"no server serves {self._plan.model.name} now"
            return Unavailable(text, retry_after_ms=WAIT_FOR_A_SERVER_MS)
        last = self.errors[-1]
        kind = next((k for k in WORDS if any(type(e) is k for e in self.errors)), type(last))
        alike = [each for each in self.errors if type(each) is kind]
        waits = [each.retry_after_ms for each in alike if each.retry_after_ms]
        text = str(alike[-1])
        if kind is OutOfCapacity and len(self._routes.places.of(self._plan.model.name)) > 1:
            text = "No more data centers to forward the request to"
        if issubclass(kind, ServerLost):
            kind = Unavailable
        return kind(text, retry_after_ms=min(waits, default=0))
