"""Adapters in simulated time: how often one must be loaded, and how even the load stays."""

from __future__ import annotations

import random

from bench.fleet import ENDPOINTS, PERMITS, Choice, Fleet, a_call
from bench.results import Row
from services.server.endpoints import Endpoint

ADAPTERS, RESIDENT, ZIPF, LOAD = 40, 16, 1.0, 0.7
FEW = ADAPTERS // ENDPOINTS  # resident: as many places as adapters, none to spare
WARM_UP, REQUESTS = 2_000, 18_000


class Calls:
    """A Poisson stream of calls, each with an adapter of Zipf's popularity."""

    def __init__(self, fleet: Fleet, *, seed: int, warm_up: int, requests: int) -> None:
        self._fleet = fleet
        self._rng = random.Random(seed)
        self._weights = [1 / rank**ZIPF for rank in range(1, ADAPTERS + 1)]
        self._left = warm_up + requests
        self._counted = requests
        self.loads = 0

    def __repr__(self) -> str:
        return f"<Calls left={self._left} loads={self.loads}>"

    def run(self) -> None:
        """Let all calls come."""
        self._next()
        self._fleet.run(lambda: not self._left)

    def _next(self) -> None:
        self._fleet.after(self._rng.expovariate(LOAD * ENDPOINTS * PERMITS), self._come)

    def _come(self) -> None:
        if self._left == self._counted:
            self._fleet.count_from_now()
        request = a_call()
        (rank,) = self._rng.choices(range(ADAPTERS), self._weights)
        request.adapter = f"a{rank}"
        is_counted = self._left <= self._counted
        self._left -= 1

        def begun(endpoint: Endpoint) -> None:
            if is_counted:
                self.loads += not endpoint.affinity.adapters.holds(request.adapter)

        self._fleet.ask(request, self._rng.expovariate(1.0), begun)
        self._next()


def measure(
    pick: Choice,
    *,
    seed: int,
    warm_up: int = WARM_UP,
    requests: int = REQUESTS,
    resident: int = RESIDENT,
) -> Row:
    """Return what one way to choose makes of one seed's calls."""
    fleet = Fleet(pick, seed=seed, resident=resident)
    calls = Calls(fleet, seed=seed, warm_up=warm_up, requests=requests)
    calls.run()
    return {"loads": 1000 * calls.loads / requests, "fullest": fleet.fullest}
