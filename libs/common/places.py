"""The places of every model as one process sees them, kept current as the world changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from libs.common.catalog import Model
from libs.common.envelope import Outcome
from libs.common.errors import RequestError, ServerLost
from libs.common.ranking import Place, Site, round_trip_ms
from libs.common.world import World
from libs.common.world_map import Colo, Server, Shard, ShardLoad, Update, shard_key

SHAPING = (Colo, Model, Server, Shard)  # what places are made of; loads only fill them
SHAPING_KINDS = frozenset({"colo", "model", "server", "shard"})


class Places:
    """Made anew when shards or servers change, and filled by loads and answers in between."""

    def __init__(self, *, world: World, colo: str, clock: Callable[[], float]) -> None:
        self._world = world
        self._colo = colo
        self._clock = clock
        self._by_key: dict[str, Place] = {}
        self._sites: dict[str, tuple[Site, ...]] = {}
        self._make()
        world.listen(self._changed)

    def __repr__(self) -> str:
        return f"<Places from={self._colo} shards={len(self._by_key)} models={len(self._sites)}>"

    def of(self, model: str) -> tuple[Site, ...]:
        """Return where a model is served, the nearest colo first."""
        return self._sites.get(model, ())

    def at(self, model: str, colo: str, shard: int) -> Place | None:
        """Return one shard of a model, if its owner is known."""
        return self._by_key.get(shard_key(colo, model, shard))

    def answered(self, place: Place, outcome: Outcome, took_ms: float = 0.0) -> None:
        """Hear from an answer how full the place is, and how far away if we know what it took."""
        place.answers(outcome.free_permits, outcome.queue_length, self._clock())
        if took_ms and place.colo not in (self._colo, "") and outcome.serving_colo == place.colo:
            timings = outcome.timings
            place.measures(took_ms - (timings.queue_us + timings.forward_us) / 1000)

    def refused(self, place: Place, error: RequestError) -> None:
        """Hear from an error how full the place is, or that its server is lost."""
        now = self._clock()
        if isinstance(error, ServerLost):
            place.fails(now)
        elif error.free_permits is not None:
            place.answers(error.free_permits, error.queue_length, now)

    def _changed(self, update: Update) -> None:
        if (
            update.complete
            or any(isinstance(each, SHAPING) for each in update.puts)
            or any(name.kind in SHAPING_KINDS for name in update.deletes)
        ):
            self._make()
        now = self._clock()
        for each in update.puts:
            if isinstance(each, ShardLoad) and (place := self._by_key.get(each.key)):
                _fill(place, each, now)

    def _make(self) -> None:
        """Make all places; each goes on with what was known of its shard."""
        world, now = self._world, self._clock()
        here = world.table(Colo).get(self._colo) or Colo(name=self._colo)
        loads, before = world.table(ShardLoad), self._by_key
        self._by_key = {}
        found: dict[str, dict[str, list[Place]]] = defaultdict(lambda: defaultdict(list))
        for key, shard in sorted(world.table(Shard).items()):
            if (place := self._place(shard, here)) is None:
                continue
            self._by_key[key] = place
            if key in before:
                place.continues(before[key])
            elif key in loads:
                _fill(place, loads[key], now)
            found[shard.model][shard.colo].append(place)
        self._sites = {model: _sites(colos, self._colo) for model, colos in found.items()}

    def _place(self, shard: Shard, here: Colo) -> Place | None:
        server = self._world.table(Server).get(shard.owner)
        model = self._world.table(Model).get(shard.model)
        if server is None:
            return None
        place = Place(
            colo=shard.colo,
            server=server.name,
            address=server.address,
            shard=shard.index,
            epoch=shard.epoch,
        )
        place.draining = server.draining
        place.distance_ms = round_trip_ms(here, self._world.table(Colo).get(shard.colo))
        place.queue_limit = model.permits.queue if model else 0
        return place


def _sites(colos: dict[str, list[Place]], here: str) -> tuple[Site, ...]:
    sites = [Site(colo, tuple(places)) for colo, places in colos.items()]
    sites.sort(key=lambda each: (each.places[0].distance_ms, each.colo != here, each.colo))
    is_watched = sum([len(each.places) for each in sites]) > 1
    for site in sites:
        for place in site.places:
            place.is_watched = is_watched
    return tuple(sites)


def _fill(place: Place, load: ShardLoad, now: float) -> None:
    place.hears(load.free, load.queued, now)
    place.permits = load.permits
    place.serves(load.done, load.service_s)
