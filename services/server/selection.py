"""Which endpoint gets the request: filter, score, then the better of two.

Two are drawn at random and the better one taken, so that numbers that are a
moment old do not send everyone to the same place (Mitzenmacher, "The power of
two choices in randomized load balancing", 2001).
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from services.server.endpoints import Endpoint

ONLY, EMPTIER = "only", "emptier"


def choose(
    endpoints: Iterable[Endpoint], *, cost: int, rng: random.Random
) -> tuple[Endpoint, str] | None:
    """Return an endpoint with room for `cost` permits and why, or None.

    A call that costs more than any healthy endpoint has takes a whole one.
    """
    healthy = [each for each in endpoints if each.state == "healthy"]
    need = min(cost, max((each.concurrency for each in healthy), default=0))
    able = [each for each in healthy if each.free >= need]
    if len(able) < 2:
        return (able[0], ONLY) if able else None
    one, other = rng.sample(able, k=2)
    return (one if emptiness(one) >= emptiness(other) else other), EMPTIER


def emptiness(endpoint: Endpoint) -> float:
    """Return the free share of an endpoint's permits, from 0 to 1."""
    return endpoint.free / endpoint.concurrency
