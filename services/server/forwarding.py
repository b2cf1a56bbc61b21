"""Forwarding: a call that is better served elsewhere, or cannot be served here at all.

`where_to` decides, on values; `Forwarding` sends the call there and hears what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from libs.common.clock import Clock
from libs.common.envelope import InferReply, InferRequest, Outcome
from libs.common.errors import HopsUsedUp, OutOfCapacity, RequestError, ServerLost
from libs.common.places import Places
from libs.common.ports import Inference, Send
from libs.common.ranking import Place, Site, best, cost_ms, hops, shortest_wait_ms, wish_of
from libs.common.world import World
from libs.eager import Promise
from services.server.metrics import ServerMetrics
from services.server.records import Record
from services.server.traces import NO_HOP, Hop, NoHop

SHORTEST_RETRY_MS: Final = 1_000
LONGEST_RETRY_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """When and how far calls are forwarded."""

    margin_ms: float = 50.0  # another place must be better by so much than to wait here
    max_hops: int = 2  # between colos


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """A call's place, as the server that has it sees it: its wait is infinite if it cannot stay."""

    server: str
    colo: str
    shard: int
    wait_ms: float = inf
    turn_ms: float = inf  # the wait of one who could stay


def where_to(
    sites: Sequence[Site],
    request: InferRequest,
    here: Here,
    settings: Settings,
    *,
    now: float,
    tried: Sequence[Place] = (),
    any_queue: bool = False,
) -> Place | None:
    """Return where a call is to be forwarded, None where it is to stay.

    Raises, for one that cannot stay: OutOfCapacity, if nobody has room for it, and HopsUsedUp,
    if others may have some, but it may not go there. Never goes twice to one colo, nor to more
    than one other server of this one. `any_queue`: to others that are full, too, who know better.
    """
    wish = wish_of(request)
    if here.wait_ms < inf and wish.preferred == here.colo:
        return None  # it would rather wait
    others = [
        each
        for site in sites
        for each in site.places
        if not (each.server == here.server and each.shard == here.shard and each.colo == here.colo)
    ]
    beyond = [each for each in request.visited_colos if each != here.colo]  # had no room
    taking = [
        each
        for each in others
        if each not in tried
        and each.colo not in beyond
        and _may_take(each, now, at_once=request.reject_if_busy, any_queue=any_queue)
    ]
    allowed = [each for each in taking if _may_go(each, request, here, settings)]
    without = [each for site in sites for each in site.places if each not in allowed]
    found = best(sites, now, wish, without=without) if allowed else None
    if found is not None and cost_ms(found, now) + settings.margin_ms < here.wait_ms:
        return found
    if here.wait_ms < inf:
        return None
    turn_ms = min(here.turn_ms, shortest_wait_ms(others))
    if taking:
        text = "the queue is full, and the request may not be forwarded again"
        raise HopsUsedUp(f"{text}; {expecting(turn_ms)}", retry_after_ms=honest(turn_ms))
    text = "No more data centers to forward the request to"
    raise OutOfCapacity(f"{text}; {expecting(turn_ms)}", retry_after_ms=honest(turn_ms))


def expecting(wait_ms: float) -> str:
    """Return an expected wait in words."""
    seconds = min(wait_ms, LONGEST_RETRY_MS) / 1000
    return f"a permit is expected in {seconds:.1f} s"


def honest(wait_ms: float) -> int:
    """Return what a client is told of an expected wait: no less than a second, and bounded."""
    if wait_ms == inf:
        return SHORTEST_RETRY_MS
    return min(LONGEST_RETRY_MS, max(SHORTEST_RETRY_MS, int(wait_ms)))


def _may_take(place: Place, now: float, *, at_once: bool, any_queue: bool) -> bool:
    if place.draining or (place.is_known and place.permits <= 0):
        return False
    if any_queue:
        return True
    if place.away_until > now:
        return False
    return place.room > 0 if at_once else place.may_have_room()


def _may_go(place: Place, request: InferRequest, here: Here, settings: Settings) -> bool:
    if place.colo == here.colo:
        return here.colo not in request.visited_colos
    return hops(request.visited_colos, here.colo) < settings.max_hops


def _hop(record: Record, request: InferRequest, place: Place) -> Hop | NoHop:
    """Return the block in which the call is with another server."""
    trace = record.trace
    if trace is None:
        return NO_HOP
    return trace.hop(request, place, has_waited=record.queued)


class Forwarding:
    """Knows the other places, and passes calls on to them."""

    def __init__(
        self,
        *,
        server: str,
        colo: str,
        world: World,
        connections: Callable[[str], Inference],
        metrics: ServerMetrics,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self.places = Places(world=world, colo=colo, clock=clock.now)
        self._server = server
        self._colo = colo
        self._connections = connections
        self._metrics = metrics
        self._clock = clock
        self._settings = settings

    def __repr__(self) -> str:
        return f"<Forwarding from {self._server} {self.places!r}>"

    def is_better(self, record: Record, wait_ms: float) -> bool:
        """Whether the call should not wait here for a permit; its `way` then says where it goes."""
        sites = self.places.of(record.request.model)
        if len(sites) == 1 and len(sites[0].places) == 1:
            return False
        record.way = self._where_to(record, wait_ms)
        return record.way is not None

    def has_room(self, model: str) -> bool:
        """Whether a permit of the model is free in another colo, as far as is known."""
        for site in self.places.of(model):
            for place in site.places:
                if place.colo != self._colo and place.permits > 0 and place.room > 0:
                    return True
        return False

    def may_leave(self, record: Record) -> bool:
        """Whether another place would take a call that cannot be served here."""
        try:
            return record.refusal is None and self._where_to(record, inf) is not None
        except OutOfCapacity:
            return False

    def must_leave(self, record: Record, why: RequestError, turn_ms: float) -> None:
        """Set the `way` of a call that cannot stay; raises what is to be said if there is none."""
        is_lost = isinstance(why, ServerLost)
        if record.refusal is not None and not is_lost:  # who was asked knows the others, too
            raise record.refusal
        try:
            record.way = self._where_to(record, inf, turn_ms, any_queue=is_lost)
        except OutOfCapacity as error:
            if is_lost:
                raise why from None
            if len(self.places.of(record.request.model)) > 1:
                raise
            text = f"{why}; {expecting(turn_ms)}"
            raise type(why)(text, retry_after_ms=error.retry_after_ms) from None

    async def infer(self, record: Record) -> InferReply | None:
        """Pass the call on along its way; None where it was not taken, and may go on from here."""
        place = self._begin(record)
        try:
            server, request = self._connections(place.address), self._request(record, place)
            with _hop(record, request, place):
                reply = await server.infer(request)
        except RequestError as error:
            self._refused(record, place, error)
            return None
        return InferReply(
            payload=reply.payload,
            content_type=reply.content_type,
            outcome=self._answered(record, place, reply.outcome),
        )

    async def stream(self, record: Record, send: Send) -> Outcome | None:
        """Pass the stream on along its way; as `infer`."""
        place = self._begin(record)
        has_begun = False

        def pass_on(payloads: Sequence[bytes]) -> Promise[None] | None:
            nonlocal has_begun
            has_begun = True
            return send(payloads)

        try:
            server, request = self._connections(place.address), self._request(record, place)
            with _hop(record, request, place):
                outcome = await server.stream(request, pass_on)
        except RequestError as error:
            if has_begun:
                record.is_told = error.recorded
                raise
            self._refused(record, place, error)
            return None
        return self._answered(record, place, outcome)

    def _where_to(
        self, record: Record, wait_ms: float, turn_ms: float = inf, any_queue: bool = False
    ) -> Place | None:
        request = record.request
        return where_to(
            self.places.of(request.model),
            request,
            Here(
                server=self._server,
                colo=self._colo,
                shard=request.shard,
                wait_ms=wait_ms,
                turn_ms=turn_ms,
            ),
            self._settings,
            now=self._clock.now(),
            tried=record.tried,
            any_queue=any_queue,
        )

    def _begin(self, record: Record) -> Place:
        place = record.way
        assert place is not None
        place.sends(self._clock.now())
        record.is_told = True  # by who has the call now, however it ends
        return place

    def _request(self, record: Record, place: Place) -> InferRequest:
        """Return what is sent on: with the time that is left, and where the call has been."""
        request, now = record.request.copy(), self._clock.now()
        if self._colo not in request.visited_colos:
            request.visited_colos = (*request.visited_colos, self._colo)
        if record.queued:
            request.queued_in_colo = self._colo
        if request.max_queue_ms:
            waited_ms = int((now - record.arrived) * 1000)
            request.max_queue_ms = max(1, request.max_queue_ms - waited_ms)
        request.shard = place.shard
        request.shard_epoch = place.epoch
        request.time_bounds = record.deadline.remaining(now)
        return request

    def _answered(self, record: Record, place: Place, outcome: Outcome) -> Outcome:
        request, source = record.request, record.request.source_colo
        took_ms = 1000 * (self._clock.now() - record.arrived)
        self.places.answered(place, outcome, 0.0 if record.queued or record.tried else took_ms)
        self._metrics.forwarded[self._colo, request.model, source, place.colo] += 1
        if record.shard is not None:
            forwarded = record.shard.counters.forwarded
            forwarded[source] = forwarded.get(source, 0) + 1
        return record.passed_on(outcome)

    def _refused(self, record: Record, place: Place, error: RequestError) -> None:
        """Learn from the error; raises it, unless the call may go on from here."""
        self.places.refused(place, error)
        record.is_told = error.recorded
        record.tried = (*record.tried, place)
        if isinstance(error, ServerLost):
            self._metrics.forward_failures[self._colo, record.request.model] += 1
        if error.sent or not error.retryable:
            raise error
        if not isinstance(error, ServerLost):
            record.refusal = error
