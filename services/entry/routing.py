"""Where a call goes from entry: `libs.common.ranking` on entry's view of the world."""

from __future__ import annotations

from collections.abc import Container

from libs.common.clock import Clock
from libs.common.envelope import Outcome
from libs.common.places import Places
from libs.common.ranking import NO_WISH, NOBODY, Place, Site, Wish, best, keeper_of, ranked
from libs.common.world import World
from libs.common.world_map import Shard, ShardLoad, shard_key


class Routes:
    """The places of all models; a view of its own, fresher than the last reports."""

    def __init__(self, *, world: World, colo: str, clock: Clock) -> None:
        self.places = Places(world=world, colo=colo, clock=clock.now)
        self._world = world
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Routes {self.places!r}>"

    def to(
        self,
        model: str,
        wish: Wish = NO_WISH,
        *,
        without: Container[Place] = NOBODY,
        with_room: bool = False,
    ) -> Place | None:
        """Return where a call of the model is served soonest, if anywhere."""
        sites = self.places.of(model)
        return best(sites, self._clock.now(), wish, without=without, with_room=with_room)

    def keeper(self, model: str, account: str, key: str) -> Place | None:
        """Return the place that keeps the answer to an idempotency key, if any serves the model.

        It is the same for all entries of a colo, as long as they know the same servers.
        """
        sites = self.places.of(model)
        return keeper_of(sites[0].places, f"{account} {key}") if sites else None

    def ranked(self, model: str, wish: Wish) -> list[Place]:
        """Return all places of the model, the best first."""
        return ranked(self.places.of(model), self._clock.now(), wish)

    def answered(self, place: Place, outcome: Outcome, began: float = 0.0) -> None:
        """Learn from an answer, if it `began` at a known moment how far the place is, too."""
        took_ms = 1000 * (self._clock.now() - began) if began else 0.0
        self.places.answered(place, outcome, took_ms)

    def is_spread(self, model: str) -> bool:
        """Whether in some colo there are several endpoints of the model to choose from."""
        loads, sites = self._world.table(ShardLoad), self.places.of(model)
        keys = [shard_key(p.colo, model, p.shard) for site in sites for p in site.places]
        return any(len(site.places) > 1 for site in sites) or any(
            key in loads and len(loads[key].endpoints) > 1 for key in keys
        )

    def may_come(self, model: str) -> bool:
        """Whether the model has shards, so that an owner may be expected for them."""
        return any(each.model == model for each in self._world.table(Shard).values())


def only(sites: tuple[Site, ...]) -> Place | None:
    """Return the place of a model that has no other, about which nothing is to be decided."""
    return sites[0].places[0] if len(sites) == 1 and len(sites[0].places) == 1 else None
