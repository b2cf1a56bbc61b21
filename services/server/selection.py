"""Which endpoint gets the request: filters, then scores, then the better of two.

Where nothing tells endpoints apart but how full and how quick they are, two are
drawn at random and the better one taken, so that numbers that are a moment old do
not send everyone to the same place (Mitzenmacher, "The power of two choices in
randomized load balancing", 2001).

Where the request needs something that endpoints may hold (an adapter, a session's
or a prompt's cache), all are scored by it, but for those that are clearly fuller
than the rest: no endpoint is chosen for what it holds beyond `bound` times its share
of the load (Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded
loads", 2016). So what is popular spreads to as many endpoints as its load fills, and
what is rare stays on one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection

from libs.common.envelope import InferRequest
from services.server.affinity import has_affinity
from services.server.endpoints import Endpoint
from services.server.preferences import USUAL, Preferences

ONLY, EMPTIER, QUICKER = "only", "emptier", "quicker"


def choose(
    endpoints: Collection[Endpoint],
    *,
    request: InferRequest,
    rng: random.Random,
    preferences: Preferences = USUAL,
) -> tuple[Endpoint, str] | None:
    """Return an endpoint with room for the request and why, or None.

    A call that costs more than any healthy endpoint has takes a whole one.
    """
    cost = request.cost
    able = _able(endpoints, cost)
    if not able:
        largest = _largest(endpoints)
        if largest >= cost:
            return None
        cost = largest
        able = _able(endpoints, cost) if cost else able
    if len(able) < 2:
        return (able[0], ONLY) if able else None
    if has_affinity(request):
        near = within_bound(able, endpoints, cost, preferences)
        found = _nearest(near, request, rng, preferences)
        if found is not None:
            return found
    return _better_of_two(able, rng, preferences)


def within_bound(
    able: list[Endpoint], endpoints: Collection[Endpoint], cost: int, preferences: Preferences
) -> list[Endpoint]:
    """Return those that are not clearly fuller than all together would be with the request."""
    permits, used = 0, cost
    for each in endpoints:
        if each.state == "healthy":
            permits += each.concurrency
            used += each.in_flight
    fill = preferences.bound * used / permits
    if fill < preferences.spare:
        fill = preferences.spare
    # Below one more than its share: the same as to round the share up.
    return [each for each in able if each.in_flight + cost < 1 + fill * each.concurrency]


def _able(endpoints: Collection[Endpoint], cost: int) -> list[Endpoint]:
    # Plain sums, no property: this runs for each endpoint at each call.
    return [
        each
        for each in endpoints
        if each.state == "healthy" and each.concurrency - each.in_flight >= cost
    ]


def _largest(endpoints: Collection[Endpoint]) -> int:
    return max((each.concurrency for each in endpoints if each.state == "healthy"), default=0)


def _better_of_two(
    able: list[Endpoint], rng: random.Random, preferences: Preferences
) -> tuple[Endpoint, str]:
    # As rng.sample(able, k=2), which takes longer than all the rest.
    first = int(rng.random() * len(able))
    second = first - 1 - int(rng.random() * (len(able) - 1))  # below 0 counts from the end
    one, other = able[first], able[second]
    fuller = one.in_flight / one.concurrency - other.in_flight / other.concurrency
    slower = _slower(one, other, preferences)
    if preferences.free * fuller + preferences.latency * slower > 0:
        one, fuller, slower = other, -fuller, -slower
    return one, QUICKER if slower < 0 <= fuller else EMPTIER


def _slower(one: Endpoint, other: Endpoint, preferences: Preferences) -> float:
    """Return how much slower one is, from -1 to 1; 0 where not both are known."""
    ones, others = one.latency, other.latency
    if not (ones.seconds and others.seconds):
        return 0.0
    newest = ones.at if ones.at > others.at else others.at
    a = ones.faded(newest, preferences.latency_s)
    b = others.faded(newest, preferences.latency_s)
    return (a - b) / (a if a > b else b)


def _nearest(
    near: list[Endpoint], request: InferRequest, rng: random.Random, preferences: Preferences
) -> tuple[Endpoint, str] | None:
    """Return the endpoint with the best score, None where none has what the request needs."""
    points = [each.affinity.points(request, preferences) for each in near]
    if not any(points):
        return None
    newest = max([each.latency.at for each in near])
    latencies = [each.latency.faded(newest, preferences.latency_s) for each in near]
    slowest = max(latencies) or 1.0
    best, most, equals = near[0], -math.inf, 0
    for each, point, latency in zip(near, points, latencies, strict=True):
        score = point - preferences.free * each.in_flight / each.concurrency
        score -= preferences.latency * latency / slowest
        if score > most:
            best, most, equals = each, score, 1
        elif score == most:  # each of n equals once in n times: the last in place of those before
            equals += 1
            if rng.random() * equals < 1:
                best = each
    return best, best.affinity.reason(request) or EMPTIER
