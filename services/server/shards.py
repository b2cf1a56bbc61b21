"""The shards that this server owns: endpoints and turnstile of each, as the world has them."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from libs.common.catalog import Model
from libs.common.envelope import InferRequest
from libs.common.errors import ServerLost, Unavailable
from libs.common.world import World
from libs.common.world_map import Instance, Shard, ShardLoad
from services.server.endpoints import Endpoint
from services.server.outliers import EJECTED
from services.server.preferences import USUAL, Preferences
from services.server.retries import RetryBudget
from services.server.tally import Tally
from services.server.turnstile import Turnstile
from services.server.windows import PermitWindow

SHORTEST_WAIT_S: Final = 1.0  # where there is no permit; nobody should come again sooner
SERVICE_EWMA: Final = 0.1  # weight of the newest call in the mean service time


@dataclass(slots=True, kw_only=True)
class Counters:
    """What has happened in a shard since the server's boot."""

    arrivals: int = 0
    done: int = 0
    service_s: float = 0.0
    waited_1s: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    forwarded: dict[str, int] = field(default_factory=dict)
    foreign: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class OwnedShard:
    """One shard: its model, its turnstile, and what has happened in it."""

    model: Model
    colo: str
    index: int
    epoch: int
    turnstile: Turnstile
    misfits: int = 0  # instances that are not used, since their model does not fit the catalog
    counters: Counters = field(default_factory=Counters)
    told_free: bool = True  # the last report has said that permits are free
    mean_service_s: float = 0.0
    retries: RetryBudget = field(default_factory=RetryBudget)
    window: PermitWindow = field(default_factory=PermitWindow)
    tally: Tally | None = None  # where its calls are counted
    alarm: str = ""  # what has last been said of its endpoints' health

    def served(self, seconds: float) -> None:
        """Count one served call."""
        self.counters.done += 1
        self.counters.service_s += seconds
        weight = SERVICE_EWMA if self.mean_service_s else 1.0
        self.mean_service_s += weight * (seconds - self.mean_service_s)

    def expected_wait_s(self, request: InferRequest) -> float:
        """When a call that comes now could have its turn, at the rate that permits come free."""
        permits = self.turnstile.permits
        if not permits:
            return self.left_alone_s()
        _, before = self.turnstile.before(request)
        rate = self.turnstile.rate.per_s()
        if not rate:  # nobody has waited yet
            rate = permits / self.mean_service_s if self.mean_service_s else permits
        return (before + request.cost) / rate

    def left_alone_s(self) -> float:
        """When to come again where no endpoint is used: as long as the first is left alone.

        That doubles while it stays away, so it grows with how long nobody has answered.
        """
        conditions = [each.condition for each in self.turnstile.endpoints.values()]
        backoffs = [each.retry_at - each.since for each in conditions if each.state == EJECTED]
        return max(SHORTEST_WAIT_S, min(backoffs, default=0.0))

    def none_healthy(self) -> Unavailable:
        """Say that it has no permit for anyone, why, and when to try again."""
        wait_s, name = self.left_alone_s(), self.model.name
        if self.turnstile.endpoints:
            text = f"no instance of {name} is healthy; try again in {wait_s:.1f} s"
        elif self.misfits:
            text = f"{name} is not what the catalog says where it runs"
        else:
            text = f"no instance of {name} is ready"
        return Unavailable(text, retry_after_ms=int(1000 * wait_s))

    def load(self, *, server: str, boot_epoch: int) -> ShardLoad:
        """Say how full it is."""
        endpoints = self.turnstile.endpoints.values()
        return ShardLoad(
            model=self.model.name,
            colo=self.colo,
            index=self.index,
            server=server,
            boot_epoch=boot_epoch,
            permits=self.turnstile.permits,
            free=self.turnstile.free,
            in_flight=sum(each.in_flight for each in endpoints),
            queued=self.turnstile.waiting,
            endpoints=tuple(each.load() for each in endpoints),
            arrivals=self.counters.arrivals,
            done=self.counters.done,
            service_s=self.counters.service_s,
            waited_1s=self.counters.waited_1s,
            rejected=dict(self.counters.rejected),
            forwarded=dict(self.counters.forwarded),
            foreign=dict(self.counters.foreign),
        )


class Shards:
    """Keeps the owned shards as the world says; `sync` after each of its changes."""

    def __init__(
        self,
        *,
        server: str,
        colo: str,
        world: World,
        rng: random.Random,
        preferences: Preferences = USUAL,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._colo = colo
        self._world = world
        self._rng = rng
        self._preferences = preferences
        self._now = now
        # Instances and addresses whose model does not fit the catalog, and why: they are not used.
        self.misfits: dict[tuple[str, str], str] = {}
        self._owned: dict[str, OwnedShard] = {}
        self._by_model: dict[tuple[str, int], OwnedShard] = {}
        self._is_leaving = False

    def __repr__(self) -> str:
        return f"<Shards of {self._server}: {', '.join(sorted(self._owned)) or 'none'}>"

    def __iter__(self) -> Iterator[OwnedShard]:
        return iter(self._owned.values())

    def find(self, model: str, index: int) -> OwnedShard | None:
        """Return a shard that this server owns."""
        return self._by_model.get((model, index))

    def addresses(self) -> set[str]:
        """Return where the endpoints of all shards are."""
        return {
            endpoint.address
            for shard in self._owned.values()
            for endpoint in shard.turnstile.endpoints.values()
        }

    def leave(self) -> None:
        """Lease no more, and send all who wait elsewhere."""
        self._is_leaving = True
        self._by_model.clear()
        for shard in self:
            shard.turnstile.close(ServerLost(f"{self._server} is leaving"))

    def sync(self) -> bool:
        """Take over, update and hand back shards as the world now has them.

        Return whether any was taken over.
        """
        before = set(self._owned)
        ours = {
            key: shard
            for key, shard in self._world.table(Shard).items()
            if shard.owner == self._server and shard.model in self._world.table(Model)
        }
        if self.misfits:
            there = {(each.id, each.address) for each in self._world.table(Instance).values()}
            self.misfits = {place: why for place, why in self.misfits.items() if place in there}
        for key in self._owned.keys() - ours.keys():
            lost = self._owned.pop(key)
            lost.turnstile.close(ServerLost(f"{lost.model.name} has moved to another server"))
        for key, shard in ours.items():
            self._sync_one(key, shard)
        if not self._is_leaving:
            self._by_model = {
                (each.model.name, each.index): each
                for each in self._owned.values()
                if each.colo == self._colo
            }
        return not ours.keys() <= before

    def _sync_one(self, key: str, shard: Shard) -> None:
        model = self._world.table(Model)[shard.model]
        owned = self._owned.get(key)
        if owned is None:
            turnstile = Turnstile(
                queue_limit=0, rng=self._rng, preferences=self._preferences, now=self._now
            )
            owned = OwnedShard(
                model=model,
                colo=shard.colo,
                index=shard.index,
                epoch=shard.epoch,
                turnstile=turnstile,
            )
            self._owned[key] = owned
        if owned.model is not model:
            owned.model, owned.tally = model, None
        owned.epoch = shard.epoch
        owned.turnstile.configure(model.permits.queue, model.permits.accounts)
        self._sync_endpoints(owned)

    def _sync_endpoints(self, shard: OwnedShard) -> None:
        known = shard.turnstile.endpoints
        found = {
            each.id: each
            for each in self._world.instances(model=shard.model.name, colo=self._colo)
            if each.state in ("ready", "draining") and _shard_of(each, shard.model) == shard.index
        }
        there = {
            name: each
            for name, each in found.items()
            if (each.id, each.address) not in self.misfits
        }
        shard.misfits = len(found) - len(there)
        for name in known.keys() - there.keys():
            known.pop(name).state = "draining"
        for name, instance in there.items():
            if name in known and known[name].address != instance.address:
                known.pop(name).state = "draining"
            endpoint = known.get(name)
            if endpoint is None:
                endpoint = known[name] = _endpoint(instance)
            _update(endpoint, instance, shard.model, self._preferences)
        shard.turnstile.admit()


def _shard_of(instance: Instance, model: Model) -> int:
    return zlib.crc32(instance.id.encode()) % model.shards


def _endpoint(instance: Instance) -> Endpoint:
    return Endpoint(
        instance=instance.id, address=instance.address, concurrency=1, external=instance.external
    )


def _update(endpoint: Endpoint, instance: Instance, model: Model, preferences: Preferences) -> None:
    endpoint.fit(model.permits)
    endpoint.affinity.limit(
        adapters=model.lora.resident,
        sessions=preferences.sessions,
        prefixes=preferences.prefixes,
    )
    if instance.state == "draining":
        endpoint.state = "draining"
    elif endpoint.state == "draining":  # its node has taken it back
        endpoint.state = "backoff" if endpoint.condition.state == EJECTED else "healthy"
