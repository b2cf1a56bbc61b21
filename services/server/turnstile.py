"""The turnstile: leases permits on endpoints, and lets those who wait for one in, fairly.

Whose turn it is says the queue, what there is says the room. Where a call needs more than any
endpoint has free when its turn comes, one endpoint is held for it, and all others go on; who
does not fit there either is passed over, and is next. All state changes happen in synchronous
code between awaits.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

from libs.common.catalog import AccountShare
from libs.common.envelope import InferRequest
from libs.common.errors import Aborted, OutOfCapacity, QueueTimeUsedUp, RequestError
from libs.eager.timers import Timers
from services.server.affinity import has_affinity
from services.server.endpoints import Endpoint
from services.server.fair_queue import FairQueue, Line, Place, line_of
from services.server.preferences import USUAL, Preferences
from services.server.room import Room
from services.server.selection import choose
from services.server.served_rate import ServedRate
from services.server.standings import Standing

LOOK_PAST: Final = 16  # accounts whose calls do not fit, before nobody else is tried
TIME_UP, PUSHED_OUT, TAKEN_OVER = "time_up", "pushed_out", "taken_over"


class Lease:
    """Permits on one endpoint; given back exactly once, by leaving the block."""

    __slots__ = ("because", "cost", "endpoint", "is_open", "standing", "turnstile")

    def __init__(
        self,
        turnstile: Turnstile,
        endpoint: Endpoint,
        because: str,
        cost: int,
        standing: Standing | None = None,
    ) -> None:
        self.turnstile = turnstile
        self.endpoint = endpoint
        self.because = because
        self.cost = cost
        self.standing = standing
        self.is_open = True

    def __repr__(self) -> str:
        return f"<Lease of {self.cost} on {self.endpoint.instance} open={self.is_open}>"

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        """Return the permits; a second time does nothing."""
        if self.is_open:
            self.is_open = False
            self.endpoint.in_flight -= self.cost
            if self.standing is not None:
                self.standing.in_use -= self.cost
            if self.turnstile.queue.size:
                self.turnstile.came_free(self.cost)

    def give_back(self) -> None:
        """Return the permits, where no block is left."""
        self.__exit__()


class Waiting(Place):
    """One call in the queue, until it is granted, refused, or leaves."""

    def __init__(
        self, turnstile: Turnstile, request: InferRequest, standing: Standing | None
    ) -> None:
        super().__init__(request, standing)
        self.turnstile = turnstile
        self.due = 0.0
        self.lease: Lease | None = None
        self.error: RequestError | None = None
        self.turn: asyncio.Future[None] | None = None

    def grant(self, lease: Lease) -> None:
        """Say that it is its turn."""
        self.lease = lease
        self._wake()

    def refuse(self, error: RequestError) -> None:
        """Say that its turn will not come."""
        self.error = error
        self._wake()

    def expire(self) -> None:
        """Hear that its time is up."""
        self.turnstile.time_is_up(self)

    def _wake(self) -> None:
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)


class Turnstile:
    """Leases at once where there is room and nobody waits, else queues, else rejects."""

    def __init__(
        self,
        *,
        queue_limit: int,
        rng: random.Random,
        preferences: Preferences = USUAL,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.room = Room()
        self.endpoints = self.room.endpoints
        self.queue: FairQueue[Waiting] = FairQueue()
        self.queue_limit = queue_limit  # permits that may be waited for
        self.preferences = preferences
        self.rate = ServedRate()
        self.dropped = {TIME_UP: 0, PUSHED_OUT: 0, TAKEN_OVER: 0}  # from the queue, since boot
        self._rng = rng
        self._now = now
        self._timers = Timers(now=now)

    def __repr__(self) -> str:
        used = self.permits - self.free
        return (
            f"<Turnstile used={used}/{self.permits} waiting={self.queue.size}/{self.queue_limit}>"
        )

    @property
    def permits(self) -> int:
        """All permits of the healthy endpoints."""
        return self.room.permits

    @property
    def free(self) -> int:
        """Permits that could be leased now."""
        return self.room.free

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return self.queue.size

    def configure(self, queue_limit: int, accounts: Mapping[str, AccountShare]) -> None:
        """Take over what the catalog says now."""
        self.queue_limit = queue_limit
        self.room.standings.configure(accounts)
        self.queue.configure(self.room.standings.named)

    def try_lease(self, request: InferRequest) -> Lease | None:
        """Lease at once where an endpoint has room and nobody waits."""
        if self.queue.size:
            return None
        if not self.room.standings.named:
            return self._lease(request, None)
        standing = self.room.standings.named.get(request.account)
        cost = self.room.at_most(request.cost)
        return self._lease(request, standing) if self.room.may(standing, cost) else None

    def pass_by(self, request: InferRequest) -> Lease | None:
        """Lease at once though others wait, if what is free is for none of them."""
        place = self._place(request)
        self._line_up(place, at_front=False)
        if place.lease is None:
            self.queue.remove(place)
        return place.lease

    async def wait(
        self, request: InferRequest, *, patience: float, at_front: bool = False
    ) -> Lease:
        """Lease after a wait of at most `patience` seconds.

        `at_front` is for a call that had its turn and lost its endpoint.
        OutOfCapacity: the queue has no room for it. QueueTimeUsedUp: patience ran out.
        Aborted: the client has tried again, and that call has its place now.
        """
        place = self._place(request)
        if at_front or not self._take_over(place):
            self._line_up(place, at_front=at_front)
        if place.lease is None and not at_front:
            self._trim(place)
        if place.lease is None and place.error is None:
            place.turn = asyncio.get_running_loop().create_future()
            place.due = self._now() + patience
            self._timers.add(place)
            try:
                await place.turn
            except BaseException:
                self._leave(place)
                raise
            finally:
                self._timers.discard(place)
        if place.lease is None:
            assert place.error is not None
            raise place.error
        return place.lease

    def admit(self) -> None:
        """Lease to those who wait, in turn, while there is room: call it after any change."""
        queue = self.queue
        self.room.held = None
        for place in list(queue.front):
            if not self._has_left(place):
                self._serve(place)
        passed: list[Line[Waiting]] = []
        unfit = 0
        while unfit < LOOK_PAST and (line := queue.next_line(passed)) is not None:
            place = line.calls[0]
            if self._has_left(place):
                continue
            cost = self.room.at_most(place.cost)
            if place.standing is not None and not place.standing.may_hold(cost):
                queue.forfeit(line)
                passed.append(line)
            elif not self._serve(place):
                if self.room.free_for_all == 0:
                    return
                passed.append(line)
                unfit += 1

    def came_free(self, permits: int) -> None:
        """Permits were given back while somebody waits."""
        self.rate.came_free(permits, self._now())
        self.admit()

    def time_is_up(self, place: Waiting) -> None:
        """Drop a call that could not start in its time; the next in line may ask for less."""
        self._time_is_up(place)
        self.admit()

    def before(self, request: InferRequest) -> tuple[int, float]:
        """Return how many calls, of how many permits, a call has before it that comes now."""
        standing = self.room.standings.named.get(request.account)
        return self.queue.before(request, standing.weight if standing else 1.0)

    def close(
        self, error: RequestError, who: Callable[[InferRequest], bool] = lambda _: True
    ) -> None:
        """Send everyone in the queue away with `error`, or only some."""
        for place in self.queue.everyone():
            if who(place.request):
                self.queue.remove(place)
                place.refuse(error)

    def _place(self, request: InferRequest) -> Waiting:
        standing = self.room.standings.named.get(request.account)
        if standing is not None and 0 < standing.maximum < request.cost:
            raise OutOfCapacity(
                f"it asks for {request.cost} permits; its account may hold {standing.maximum}"
            )
        return Waiting(self, request, standing)

    def _line_up(self, place: Waiting, *, at_front: bool) -> None:
        if not self.queue.size:
            self.rate.begin(self._now())
        if at_front:
            self.queue.add_front(place)
        else:
            self.queue.add(place)
        self.admit()

    def _take_over(self, newer: Waiting) -> bool:
        """Give a call the place of its own first try, which its client has given up."""
        line = self.queue.lines.get(line_of(newer.request))
        for older in line.calls if line is not None else ():
            if _is_again(older.request, newer.request):
                if older.cost == newer.cost and older.request.priority == newer.request.priority:
                    self.queue.replace(older, newer)
                else:
                    self.queue.remove(older)
                self.dropped[TAKEN_OVER] += 1
                older.refuse(Aborted("the client has tried again, and that call has its place"))
                return newer.rank != (0, 0)
        return False

    def _trim(self, newest: Waiting) -> None:
        """Send away whom the queue's bound leaves no room."""
        for place in self.queue.trim(self.queue_limit, newest):
            calls, _ = self.before(place.request)
            if place is newest:
                place.refuse(OutOfCapacity(f"the queue is full: {calls} calls would be before it"))
            else:
                self.dropped[PUSHED_OUT] += 1
                place.refuse(OutOfCapacity("its place in the queue was due to another account"))

    def _time_is_up(self, place: Waiting) -> None:
        weight = place.standing.weight if place.standing is not None else 1.0
        calls, _ = self.queue.before(place.request, weight, place)
        if self.queue.remove(place):
            self.dropped[TIME_UP] += 1
            place.refuse(
                QueueTimeUsedUp(f"no permit came free in its time; {calls} calls were before it")
            )

    def _has_left(self, place: Waiting) -> bool:
        """Whether a call no longer waits; a cancelled one stays in line until its task runs."""
        if place.turn is not None and place.turn.done():
            self.queue.remove(place)
            return True
        if place.due and place.due <= self._now():
            self._time_is_up(place)
            return True
        return False

    def _serve(self, place: Waiting) -> bool:
        """Lease to one who waits, or keep an endpoint for it; whether there was room."""
        standing, cost = place.standing, self.room.at_most(place.cost)
        is_owed = standing is not None and standing.is_owed(cost)
        if self.room.may(standing, cost):
            is_bound = self.room.held is not None and not is_owed
            lease = self._lease(
                place.request, standing, self.room.beside(cost) if is_bound else None
            )
            if lease is not None:
                self.queue.serve(place, 0 if is_owed else lease.cost)
                place.grant(lease)
                return True
        if self.room.held is None:
            self.room.hold(standing, cost)
        return False

    def _lease(
        self,
        request: InferRequest,
        standing: Standing | None,
        among: Collection[Endpoint] | None = None,
    ) -> Lease | None:
        endpoints = self.endpoints.values() if among is None else among
        found = choose(endpoints, request=request, rng=self._rng, preferences=self.preferences)
        if found is None:
            return None
        endpoint, because = found
        if has_affinity(request):
            endpoint.affinity.take(request)
        cost, most = request.cost, endpoint.concurrency
        taken = cost if cost < most else most
        endpoint.in_flight += taken
        if standing is not None:
            standing.in_use += taken
        return Lease(self, endpoint, because, taken, standing)

    def _leave(self, place: Waiting) -> None:
        """A caller no longer waits: others may have its place, or what it was granted."""
        if place.lease is not None:
            place.lease.give_back()  # granted in the same tick as it gave up
        elif self.queue.remove(place):
            self.admit()  # the next in line may ask for less, or accept another endpoint


def _is_again(older: InferRequest, newer: InferRequest) -> bool:
    """Whether a client sends again what still waits: by its own word, and all that it says."""
    return (
        newer.retry_count > 0
        and newer.client_request_id != ""
        and newer.client_request_id == older.client_request_id
        and newer.payload == older.payload
    )
