"""Which endpoint gets the request: filter, score, then the better of two.

Two are drawn at random and the better one taken, so that numbers that are a
moment old do not send everyone to the same place (Mitzenmacher, "The power of
two choices in randomized load balancing", 2001).
"""

from __future__ import annotations

import random
from collections.abc import Collection

from libs.common.envelope import InferRequest
from services.server.endpoints import Endpoint

ONLY, EMPTIER = "only", "emptier"


def choose(
    endpoints: Collection[Endpoint], *, request: InferRequest, rng: random.Random
) -> tuple[Endpoint, str] | None:
    """Return an endpoint with room for the request and why, or None.

    A call that costs more than any healthy endpoint has takes a whole one.
    """
    able = _able(endpoints, request.cost)
    if not able:
        largest = _largest(endpoints)
        if largest >= request.cost:
            return None
        able = _able(endpoints, largest) if largest else able
    if len(able) < 2:
        return (able[0], ONLY) if able else None
    # As rng.sample(able, k=2), which takes longer than all the rest.
    first = int(rng.random() * len(able))
    second = first - 1 - int(rng.random() * (len(able) - 1))  # below 0 counts from the end
    one, other = able[first], able[second]
    emptier = one.in_flight / one.concurrency <= other.in_flight / other.concurrency
    return (one if emptier else other), EMPTIER


def _able(endpoints: Collection[Endpoint], cost: int) -> list[Endpoint]:
    # Plain sums, no property: this runs for each endpoint at each call.
    return [
        each
        for each in endpoints
        if each.state == "healthy" and each.concurrency - each.in_flight >= cost
    ]


def _largest(endpoints: Collection[Endpoint]) -> int:
    return max((each.concurrency for each in endpoints if each.state == "healthy"), default=0)
