"""Simulated time: endpoints that serve calls, and a choice for each that is watched."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from libs.common.envelope import InferRequest
from services.server.endpoints import Endpoint
from services.server.preferences import USUAL, Preferences
from services.server.selection import choose

ENDPOINTS, PERMITS = 4, 32
# Which endpoint gets the request; None while none has room.
Choice: TypeAlias = Callable[["Fleet", InferRequest], "Endpoint | None"]
Begun: TypeAlias = Callable[[Endpoint], None]


class Fleet:
    """Endpoints of one shard and a clock of their own; what has no room waits in line."""

    def __init__(
        self,
        pick: Choice,
        *,
        seed: int,
        resident: int = 8,
        preferences: Preferences = USUAL,
    ) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        self.preferences = preferences
        self.endpoints = [
            Endpoint(instance=f"e{at}", address="", concurrency=PERMITS) for at in range(ENDPOINTS)
        ]
        for each in self.endpoints:
            each.affinity.limit(
                adapters=resident,
                sessions=preferences.sessions,
                prefixes=preferences.prefixes,
            )
        self._pick = pick
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._line: deque[tuple[InferRequest, float, Begun, Callable[[], None]]] = deque()
        self._busy = dict.fromkeys((each.instance for each in self.endpoints), 0.0)

    def __repr__(self) -> str:
        return f"<Fleet at {self.now:.1f} s waiting={len(self._line)}>"

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), action))

    def ask(
        self,
        request: InferRequest,
        seconds: float,
        begun: Begun,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        """Have a call served that takes so long, when its turn has come."""
        self._line.append((request, seconds, begun, done))
        self._admit()

    def run(self, is_over: Callable[[], bool]) -> None:
        """Let time pass."""
        while not is_over():
            at, _, action = heapq.heappop(self._events)
            for each in self.endpoints:
                self._busy[each.instance] += each.in_flight * (at - self.now)
            self.now = at
            action()

    def count_from_now(self) -> None:
        """Forget how busy the endpoints were."""
        self._busy = dict.fromkeys(self._busy, 0.0)

    @property
    def fullest(self) -> float:
        """Mean in flight of the fullest endpoint over time, by the mean of all."""
        return max(self._busy.values()) * len(self._busy) / sum(self._busy.values())

    def _admit(self) -> None:
        while self._line:
            request, seconds, begun, done = self._line[0]
            endpoint = self._pick(self, request)
            if endpoint is None:
                return
            self._line.popleft()
            begun(endpoint)
            endpoint.affinity.take(request)
            endpoint.in_flight += 1
            self.after(seconds, partial(self._end, endpoint, seconds, done))

    def _end(self, endpoint: Endpoint, seconds: float, done: Callable[[], None]) -> None:
        endpoint.in_flight -= 1
        endpoint.latency.seen(seconds, now=self.now, memory_s=self.preferences.latency_s)
        done()
        self._admit()


def ours(fleet: Fleet, request: InferRequest) -> Endpoint | None:
    """Choose as a server does."""
    found = choose(fleet.endpoints, request=request, rng=fleet.rng, preferences=fleet.preferences)
    return found[0] if found else None


def emptier(fleet: Fleet, request: InferRequest) -> Endpoint | None:
    """Choose as a server does for calls without affinity."""
    return ours(fleet, a_call())


def at_random(fleet: Fleet, request: InferRequest) -> Endpoint | None:
    """Choose any endpoint that has room."""
    able = [each for each in fleet.endpoints if each.free]
    return fleet.rng.choice(able) if able else None


def a_call() -> InferRequest:
    """Return a call that wants nothing in particular."""
    return InferRequest(request_id="", account="", model="", payload=b"")
