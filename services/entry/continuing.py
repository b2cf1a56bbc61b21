"""Streams that survive: where an instance or a server dies, another goes on from what was said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from libs.common.backoff import Backoff
from libs.common.clock import Clock
from libs.common.deadline import Deadline, fix
from libs.common.envelope import InferRequest, Outcome
from libs.common.errors import RequestError, StreamLost, Unavailable
from libs.common.ports import Inference, Send
from libs.common.ranking import Place, wish_of
from services.entry.budget import Budget
from services.entry.calls import Plan
from services.entry.metrics import EntryMetrics
from services.entry.routing import Routes
from services.entry.tasks.base import Renderer

MOST_DEATHS = 2  # of instances in one stream's middle: it may be what kills them
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0  # between two looks for a place, while there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What going on may cost."""

    times: int = 4  # one stream may break and go on
    keep_bytes: int = 256 * 1024  # of a stream's text; a longer one cannot go on
    burst: int = 256  # streams that go on at once, and how many more each second
    per_s: float = 16.0


class Continuing:
    """Asks for what is missing of streams that broke, each a few times, all within a budget."""

    def __init__(
        self,
        *,
        colo: str,
        routes: Routes,
        connections: Callable[[str], Inference],
        bounds: Bounds,
        metrics: EntryMetrics,
        clock: Clock,
    ) -> None:
        self.keep_bytes = bounds.keep_bytes
        self._colo = colo
        self._routes = routes
        self._connections = connections
        self._budget = Budget(burst=bounds.burst, per_s=bounds.per_s)
        self._times = bounds.times
        self._metrics = metrics
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Continuing at most {self._times} times, {self._budget!r}>"

    async def go_on(
        self, plan: Plan, broken: InferRequest, error: RequestError, renderer: Renderer, send: Send
    ) -> Outcome:
        """Return the outcome of the attempt that ended the stream well.

        Raises what broke it first, where it cannot go on.
        """
        if not _is_break(error):
            raise error
        first, request, deaths = error, broken.copy(), 0
        for left in range(self._times, -1, -1):
            used = renderer.used_if_whole(plan.parsed)
            if used is not None:
                return self._ended("whole", Outcome(usage=used))
            deaths += isinstance(error, StreamLost)
            if left == 0 or deaths == MOST_DEATHS or not self._may_go_on(plan, request, renderer):
                break
            try:
                return self._ended("continued", await self._ask(plan, request, renderer, send))
            except RequestError as next_error:
                error = next_error
            if not _is_break(error):
                break
        self._metrics.broken[self._colo, "lost"] += 1
        if error is first:
            raise first
        raise first from error

    def _may_go_on(self, plan: Plan, request: InferRequest, renderer: Renderer) -> bool:
        """Make the request ask for the rest, if that can be asked for and the budget has room."""
        rest = renderer.rest(plan.parsed)
        if rest is None or not self._budget.take(self._clock.now()):
            return False
        request.payload = plan.task.payload(rest, stream=True, adapter=request.adapter)
        request.continued_from = renderer.parts_seen
        request.falls_back = False  # what has begun stays with its model
        request.idempotency_key = ""  # whose answer is a whole one
        return True

    async def _ask(
        self, plan: Plan, request: InferRequest, renderer: Renderer, send: Send
    ) -> Outcome:
        """Send the request to the first that has a place, looking until the time is up."""
        deadline = _deadline(plan, self._clock.now())
        waits = iter(Backoff(first_s=FIRST_WAIT_S, most_s=LONGEST_WAIT_S))
        error: RequestError = Unavailable(f"no server serves {request.model} now")
        while True:
            for place in self._routes.ranked(request.model, wish_of(request)):
                sent = self._next(request, place, deadline)
                place.sends(self._clock.now())
                try:
                    return await self._connections(place.address).stream(sent, send)
                except RequestError as failed:
                    error = failed
                    self._routes.places.refused(place, failed)
                if not error.retryable or error.sent or renderer.parts_seen > sent.continued_from:
                    raise error
            wait_s = next(waits)
            if wait_s >= deadline.until_first(self._clock.now()):
                raise error
            await asyncio.sleep(wait_s)

    def _next(self, request: InferRequest, place: Place, deadline: Deadline) -> InferRequest:
        """Return what is sent to a place, as the next attempt."""
        request.attempt += 1
        sent = request.copy()
        sent.shard, sent.shard_epoch = place.shard, place.epoch
        sent.time_bounds = deadline.remaining(self._clock.now())
        return sent

    def _ended(self, how: str, outcome: Outcome) -> Outcome:
        self._metrics.broken[self._colo, how] += 1
        return outcome


def _is_break(error: RequestError) -> bool:
    """Whether an instance or its server was lost, which may have begun to answer."""
    return isinstance(error, StreamLost | Unavailable)


def _deadline(plan: Plan, now: float) -> Deadline:
    """Return the bounds of what goes on: its first part ends a silence that has begun now."""
    bounds = fix(plan.request.time_bounds, plan.began)
    return Deadline(now + bounds.idle, bounds.total, bounds.idle)
