"""Which colo serves a call: all that could, the best one first.

What counts is the way there, in milliseconds, plus the wait that is to be
expected. The numbers are as old as the servers' last reports; a server that
knows better forwards the call.
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from libs.common.world import World
from libs.common.world_map import Colo, Server, Shard, ShardLoad

EARTH_KM = 6371.0
KM_PER_MS = 100.0  # light in fibre makes 200 km in a millisecond, and must come back
UNKNOWN_SERVICE_MS = 1000.0  # of a shard that has not finished a call yet


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call may be sent."""

    colo: str
    server: str
    address: str
    shard: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A shard of the model, and what is known of the place."""

    shard: Shard
    server: Server
    load: ShardLoad | None = None
    colo: Colo | None = None

    @property
    def has_permits(self) -> bool:
        """Whether it can serve now, or soon; the others may only queue."""
        return self.load is not None and self.load.permits > 0 and not self.server.draining


class Routes:
    """The candidates by model, gathered again after the world has changed."""

    def __init__(self, *, world: World, colo: str) -> None:
        self._world = world
        self._colo = colo
        self._by_model: dict[str, list[Candidate]] | None = None
        self._ranked: dict[str, tuple[Target, ...]] = {}
        world.listen(lambda _: self._forget())

    def __repr__(self) -> str:
        return f"<Routes from={self._colo} models={len(self._by_model or ())}>"

    def to(self, model: str, preferred: str = "", session: str = "") -> tuple[Target, ...]:
        """Return where calls of a model may go, the best first, one per colo."""
        if preferred or session:
            return self._rank(model, preferred, session)
        if model not in self._ranked:
            self._ranked[model] = self._rank(model)
        return self._ranked[model]

    def is_spread(self, model: str) -> bool:
        """Whether somewhere a server has more than one endpoint of the model to choose from."""
        return any(len(each.load.endpoints) > 1 for each in self._candidates(model) if each.load)

    def _candidates(self, model: str) -> list[Candidate]:
        if self._by_model is None:
            self._by_model = gather(self._world)
        return self._by_model.get(model, [])

    def _rank(self, model: str, preferred: str = "", session: str = "") -> tuple[Target, ...]:
        here = self._world.table(Colo).get(self._colo) or Colo(name=self._colo)
        return rank(self._candidates(model), here=here, preferred=preferred, session=session)

    def _forget(self) -> None:
        self._by_model = None
        self._ranked.clear()


def gather(world: World) -> dict[str, list[Candidate]]:
    """Return all shards whose owner is known, by model."""
    servers, loads, colos = world.table(Server), world.table(ShardLoad), world.table(Colo)
    found: dict[str, list[Candidate]] = defaultdict(list)
    for key, shard in world.table(Shard).items():
        if server := servers.get(shard.owner):
            each = Candidate(
                shard=shard, server=server, load=loads.get(key), colo=colos.get(shard.colo)
            )
            found[shard.model].append(each)
    return dict(found)


def rank(
    candidates: Iterable[Candidate], *, here: Colo, preferred: str = "", session: str = ""
) -> tuple[Target, ...]:
    """Return one target per colo, the best first; a session keeps to one shard of each colo."""

    def cost(each: Candidate) -> tuple[bool, bool, float, bool, str, int]:
        colo = each.shard.colo
        ms = distance_ms(here, each.colo) + expected_wait_ms(each.load)
        away = colo != here.name
        return (not each.has_permits, colo != preferred, ms, away, colo, each.shard.index)

    best: dict[str, Target] = {}
    for each in sorted(_of_session(list(candidates), session), key=cost):
        shard, server = each.shard, each.server
        target = Target(shard.colo, server.name, server.address, shard.index, shard.epoch)
        best.setdefault(shard.colo, target)
    return tuple(best.values())


def expected_wait_ms(load: ShardLoad | None) -> float:
    """Return how long a call would wait for a permit, from what was served before."""
    if load is None or load.free > 0:
        return 0.0
    service_ms = 1000 * load.service_s / load.done if load.done else UNKNOWN_SERVICE_MS
    return service_ms * (load.queued + 1) / max(1, load.permits)


def distance_ms(one: Colo, other: Colo | None) -> float:
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


def _of_session(candidates: list[Candidate], session: str) -> list[Candidate]:
    """Keep the shard that a session hashes to, where a model has several."""
    shards = 1 + max((each.shard.index for each in candidates), default=0)
    if not session or shards == 1:
        return candidates
    wanted = zlib.crc32(session.encode()) % shards
    return [each for each in candidates if each.shard.index == wanted]
