"""Which place serves a call soonest: the way there, plus the wait that is to be expected.

A place is a shard of a model as one process sees it. What is known of it is what was
heard last, in the world map or with an answer, and the own calls since then are taken
off: so many callers do not run to the same place because of a map that is a second old.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Sequence
from typing import Final

from libs.common.envelope import InferRequest
from libs.common.values import Value
from libs.common.world_map import Colo

EARTH_KM: Final = 6371.0
KM_PER_MS: Final = 100.0  # light in fibre makes 200 km in a millisecond, and must come back
UNKNOWN_SERVICE_MS: Final = 1000.0  # of a shard that has not finished a call yet
UNKNOWN_WAIT_MS: Final = 1000.0  # of a shard of which nothing was heard yet
NEWEST: Final = 0.5  # weight of the newest calls in how long one takes
SLOWLY: Final = 0.02  # how fast a measured round trip follows one that is longer
BOUND: Final = 1.25  # a shard that a key belongs to takes so many times the mean
FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 8.0
# What outweighs every wait; the heavier reason outweighs all lighter ones.
FULL_MS: Final = 1e7  # no permit and no place in the queue
UNWANTED_MS: Final = 1e9  # not the colo that was wished for
LOST_MS: Final = 1e11  # the server was lost a moment ago
NO_PERMITS_MS: Final = 1e13
NOBODY: Final[Container[Place]] = ()


class Place:
    """A shard with its owner, how far away it is, and how full it is likely to be.

    Two are never equal: it is changed in its place as answers and reports come in.
    """

    __slots__ = (
        "address",
        "away_until",
        "colo",
        "distance_ms",
        "done",
        "draining",
        "earlier",
        "epoch",
        "failures",
        "free",
        "is_known",
        "is_measured",
        "is_watched",
        "permits",
        "queue_limit",
        "queued",
        "recent",
        "recent_since",
        "server",
        "service_ms",
        "service_s",
        "shard",
        "unseen",
    )

    def __init__(self, *, colo: str, server: str, address: str, shard: int, epoch: int) -> None:
        self.colo = colo
        self.server = server
        self.address = address
        self.shard = shard
        self.epoch = epoch
        self.draining = False
        self.distance_ms = 0.0
        self.is_measured = False  # how far it is, by answers that came from there
        self.queue_limit = 0
        self.is_watched = False  # there are others to choose from, so it matters how full it is
        # As heard last:
        self.is_known = False
        self.permits = 0
        self.free = 0
        self.queued = 0
        self.service_ms = UNKNOWN_SERVICE_MS
        self.done = 0  # calls, and
        self.service_s = 0.0  # the time that they took, since the server's boot
        # What we have done since:
        self.unseen = 0  # calls sent that what was heard last cannot have in it
        self.recent = 0  # calls sent within the last round trip, and
        self.earlier = 0  # within the one before
        self.recent_since = 0.0
        self.failures = 0
        self.away_until = 0.0

    def __repr__(self) -> str:
        name = f"{self.colo}/{self.shard} of {self.server} epoch={self.epoch}"
        return f"<Place {name} room={self.room}/{self.permits} queued={self.queued}>"

    @property
    def room(self) -> int:
        """Permits that are likely to be free; below 0 as many calls as will have to queue."""
        return self.free - self.unseen

    def may_have_room(self) -> bool:
        """Whether it could take one more call, if only into its queue."""
        if not self.is_known:
            return True
        if self.permits <= 0:
            return False
        return not self.is_full()

    def is_full(self) -> bool:
        """Whether no permit is free and the queue is at its bound, as far as is known."""
        room = self.free - self.unseen
        return self.is_known and room <= 0 and self.queued - room >= self.queue_limit

    def sends(self, now: float) -> None:
        """One more call is on its way there."""
        self._roll(now)
        self.recent += 1
        self.unseen += 1
        if self.failures:  # one call finds out whether it is back, the others do not wait for it
            self.away_until = now + self._backoff_s()

    def hears(self, free: int, queued: int, now: float) -> None:
        """This is how full it was when it spoke: calls of the last round trip are not in it."""
        self._roll(now)
        self.free = free
        self.queued = queued
        self.is_known = True
        self.unseen = min(self.unseen, self.earlier + self.recent)

    def answers(self, free: int, queued: int, now: float) -> None:
        """An own call was answered, so that one was seen; and its server is there."""
        self.hears(free, queued, now)
        self.unseen = max(0, self.unseen - 1)
        self.failures = 0
        self.away_until = 0.0

    def serves(self, done: int, service_s: float) -> None:
        """So many calls have taken so long since its boot: the newest tell how long one takes."""
        newest, took_s = done - self.done, service_s - self.service_s
        if newest < 0:  # it has started again
            newest, took_s = done, service_s
        if newest > 0:
            each_ms = 1000 * took_s / newest
            self.service_ms += (NEWEST if self.done else 1.0) * (each_ms - self.service_ms)
        self.done, self.service_s = done, service_s

    def measures(self, ms: float) -> None:
        """An answer took so long besides the work on it: what is not the way only lengthens it."""
        if not self.is_measured or ms <= self.distance_ms:
            self.distance_ms = max(0.0, ms)
        else:
            self.distance_ms += SLOWLY * (ms - self.distance_ms)
        self.is_measured = True

    def fails(self, now: float) -> None:
        """Its server could not be reached: others are better for a while."""
        self.away_until = now + self._backoff_s()
        self.failures += 1

    def continues(self, before: Place) -> None:
        """Take over what is known of the same shard, as it was before the world changed."""
        self.is_known, self.permits = before.is_known, before.permits
        self.free, self.queued, self.service_ms = before.free, before.queued, before.service_ms
        self.done, self.service_s = before.done, before.service_s
        if before.is_measured:
            self.is_measured, self.distance_ms = True, before.distance_ms
        if self.epoch == before.epoch and self.address == before.address:
            self.unseen, self.recent, self.earlier = before.unseen, before.recent, before.earlier
            self.recent_since = before.recent_since
            self.failures, self.away_until = before.failures, before.away_until

    def _roll(self, now: float) -> None:
        trip_s = self.distance_ms / 1000
        age = now - self.recent_since
        if age >= trip_s:
            self.earlier = self.recent if age < 2 * trip_s else 0
            self.recent = 0
            self.recent_since = now

    def _backoff_s(self) -> float:
        return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * float(2 ** min(self.failures, 10)))


class Site(Value):
    """The places of one model in one colo."""

    __slots__ = ("colo", "places")

    def __init__(self, colo: str, places: Sequence[Place]) -> None:
        self.colo = colo
        self.places = places


class Wish(Value):
    """What a call would like: a colo, to be where its like have been, or just idle permits."""

    __slots__ = ("background", "key", "preferred")

    def __init__(self, *, preferred: str = "", key: str = "", background: bool = False) -> None:
        self.preferred = preferred
        self.key = key
        self.background = background


NO_WISH: Final = Wish()


def wish_of(request: InferRequest) -> Wish:
    """Return what a request says that it would like."""
    key = affinity_key(request.session, request.adapter, request.prefix_hashes)
    if not (key or request.preferred_colo or request.background):
        return NO_WISH
    return Wish(preferred=request.preferred_colo, key=key, background=request.background)


def affinity_key(session: str, adapter: str, prefix_hashes: Sequence[int] = ()) -> str:
    """Return what calls have in common that are served best by the same shard, or nothing."""
    return session or adapter or (str(prefix_hashes[0]) if prefix_hashes else "")


def best(
    sites: Sequence[Site],
    now: float,
    wish: Wish = NO_WISH,
    *,
    without: Container[Place] = NOBODY,
    with_room: bool = False,
) -> Place | None:
    """Return where a call is served soonest, of the places that are not `without`.

    Sites come nearest first, and of equals the first is taken. `with_room`: only where a
    call could be taken, as far as is known.
    """
    found: Place | None = None
    least = math.inf
    for site in sites:
        places = site.places
        if with_room or without is not NOBODY:
            places = [
                each
                for each in places
                if each not in without and (not with_room or each.may_have_room())
            ]
        if not places:
            continue
        place = places[0] if len(places) == 1 else shard_for(places, wish.key, now)
        cost = cost_ms(place, now, wish)
        if cost < least:
            found, least = place, cost
    return found


def shortest_wait_ms(places: Sequence[Place]) -> float:
    """Return how soon a call could have its turn in the best of some places; never: infinite."""
    waits = [
        each.distance_ms + wait_ms(each)
        for each in places
        if each.is_known and each.permits > 0 and not each.draining
    ]
    return min(waits, default=math.inf)


def ranked(sites: Sequence[Site], now: float, wish: Wish = NO_WISH) -> list[Place]:
    """Return all places, in the order in which `best` gives them to one who tries all."""
    tried: list[Place] = []
    while (place := best(sites, now, wish, without=tried)) is not None:
        tried.append(place)
    return tried


def cost_ms(place: Place, now: float, wish: Wish = NO_WISH) -> float:
    """Return what a call loses by going there, in milliseconds."""
    if not wish.background:
        ms = place.distance_ms + wait_ms(place)
        if place.is_full():
            ms += FULL_MS
    else:  # the share of permits in use counts, and distance only among equals
        ms = 1000 * used_share(place) + place.distance_ms / 1000
    if wish.preferred and place.colo != wish.preferred:
        ms += UNWANTED_MS
    if place.away_until > now:
        ms += LOST_MS
    if place.draining or (place.is_known and place.permits <= 0):
        ms += NO_PERMITS_MS
    return ms


def wait_ms(place: Place) -> float:
    """Return how long a call would wait for a permit, from what was served before."""
    if not place.is_known:
        return UNKNOWN_WAIT_MS
    room = place.free - place.unseen
    if room > 0:
        return 0.0
    return place.service_ms * (place.queued - room + 1) / max(1, place.permits)


def used_share(place: Place) -> float:
    """Return how many permits are in use or asked for, of all there are."""
    if not place.is_known:
        return 1.0
    used = place.permits - (place.free - place.unseen) + place.queued
    return used / max(1, place.permits)


def shard_for(places: Sequence[Place], key: str, now: float) -> Place:
    """Return the shard that a call goes to within a colo.

    A key belongs to the one with the highest score, and spills to the next while that
    one is clearly fuller than the others or has no permit free. Without a key, or where
    all are full, the least wait counts, then the emptier one.
    """
    if key:
        bound = BOUND * (sum([used_share(each) for each in places]) / len(places))
        for each in sorted(places, key=lambda place: _score(key, place.shard), reverse=True):
            of_one = 1 / max(1, each.permits)
            if (
                each.room > 0
                and used_share(each) <= bound + of_one
                and cost_ms(each, now) < LOST_MS
            ):
                return each
    return min(places, key=lambda each: (cost_ms(each, now), used_share(each), each.shard))


def keeper_of(places: Sequence[Place], key: str) -> Place:
    """Return the shard that a key belongs to, however full it is."""
    return max(places, key=lambda place: _score(key, place.shard))


def _score(key: str, shard: int) -> bytes:
    return hashlib.blake2b(f"{shard}\0{key}".encode(), digest_size=8).digest()


def hops(visited_colos: Sequence[str], colo: str) -> int:
    """Return how often a call has changed its colo before it came to this one."""
    return len(visited_colos) - (1 if colo in visited_colos else 0)


def round_trip_ms(one: Colo, other: Colo | None) -> float:
    """Return the round trip along the great circle."""
    if other is None or one.name == other.name:
        return 0.0
    north, south = math.radians(one.latitude), math.radians(other.latitude)
    across = math.radians(other.longitude - one.longitude)
    half = (
        math.sin((south - north) / 2) ** 2
        + math.cos(north) * math.cos(south) * math.sin(across / 2) ** 2
    )
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half))) / KM_PER_MS
