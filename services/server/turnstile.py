"""The turnstile: leases permits on endpoints, and holds the bounded queue for them.

A permit is a slot on one endpoint, so what is free is what the healthy endpoints
have free; nothing is counted twice. First come, first served. All state changes
happen in synchronous code between awaits.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from libs.common.envelope import InferRequest
from libs.common.errors import OutOfCapacity, QueueTimeUsedUp, RequestError
from services.server.affinity import has_affinity
from services.server.endpoints import Endpoint
from services.server.preferences import USUAL, Preferences
from services.server.selection import choose


class Lease:
    """Permits on one endpoint; given back exactly once, by leaving the block."""

    __slots__ = ("because", "cost", "endpoint", "is_open", "turnstile")

    def __init__(self, turnstile: Turnstile, endpoint: Endpoint, because: str, cost: int) -> None:
        self.turnstile = turnstile
        self.endpoint = endpoint
        self.because = because
        self.cost = cost
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
            if self.turnstile.queue:
                self.turnstile.admit()

    def give_back(self) -> None:
        """Return the permits, where no block is left."""
        self.__exit__()


@dataclass(slots=True, eq=False)
class _Waiting:
    """One call in the queue."""

    request: InferRequest
    turn: asyncio.Future[Lease] = field(repr=False)


class Turnstile:
    """Leases at once where there is room and nobody waits, else queues, else rejects."""

    def __init__(
        self, *, queue_limit: int, rng: random.Random, preferences: Preferences = USUAL
    ) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.queue_limit = queue_limit
        self.preferences = preferences
        self._rng = rng
        self.queue: deque[_Waiting] = deque()  # of those who wait, in order

    def __repr__(self) -> str:
        used = self.permits - self.free
        return f"<Turnstile used={used}/{self.permits} waiting={self.waiting}/{self.queue_limit}>"

    @property
    def permits(self) -> int:
        """All permits of the healthy endpoints."""
        return sum([e.concurrency for e in self.endpoints.values() if e.state == "healthy"])

    @property
    def free(self) -> int:
        """Permits that could be leased now."""
        free = 0
        for each in self.endpoints.values():  # as Endpoint.free, without a call for each
            if each.state == "healthy" and each.concurrency > each.in_flight:
                free += each.concurrency - each.in_flight
        return free

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self.queue)

    def try_lease(self, request: InferRequest) -> Lease | None:
        """Lease at once where an endpoint has room and nobody waits."""
        return None if self.queue else self._lease(request)

    async def wait(
        self, request: InferRequest, *, patience: float, at_front: bool = False
    ) -> Lease:
        """Lease after a wait of at most `patience` seconds.

        `at_front` is for a call that had its turn and lost its endpoint.
        OutOfCapacity: the queue is full. QueueTimeUsedUp: patience ran out.
        """
        if not at_front and len(self.queue) >= self.queue_limit:
            raise OutOfCapacity(f"{len(self.queue)} requests are waiting already")
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self.queue.insert(0 if at_front else len(self.queue), waiting)
        self.admit()
        try:
            async with asyncio.timeout(patience):
                return await waiting.turn
        except TimeoutError:
            self._leave(waiting)
            raise QueueTimeUsedUp(f"no permit came free within {patience:.1f} s") from None
        except BaseException:
            self._leave(waiting)
            raise

    def admit(self) -> None:
        """Lease to those who wait, in order, while there is room: call it after any change."""
        while self.queue:
            head = self.queue[0]
            if head.turn.done():  # a cancelled caller stays in line until its task runs
                self.queue.popleft()
                continue
            lease = self._lease(head.request)
            if lease is None:
                return
            self.queue.popleft()
            head.turn.set_result(lease)

    def close(self, error: RequestError) -> None:
        """Send everyone in the queue away with `error`."""
        for waiting in self._drained():
            if not waiting.turn.done():
                waiting.turn.set_exception(error)

    def _drained(self) -> Iterator[_Waiting]:
        while self.queue:
            yield self.queue.popleft()

    def _lease(self, request: InferRequest) -> Lease | None:
        found = choose(
            self.endpoints.values(),
            request=request,
            rng=self._rng,
            preferences=self.preferences,
        )
        if found is None:
            return None
        endpoint, because = found
        if has_affinity(request):
            endpoint.affinity.take(request)
        cost, most = request.cost, endpoint.concurrency
        taken = cost if cost < most else most
        endpoint.in_flight += taken
        return Lease(self, endpoint, because, taken)

    def _leave(self, waiting: _Waiting) -> None:
        if waiting in self.queue:
            self.queue.remove(waiting)
            self.admit()  # the next in line may ask for less, or accept another endpoint
        elif not waiting.turn.cancelled() and waiting.turn.exception() is None:
            waiting.turn.result().give_back()  # leased in the same tick as we gave up
