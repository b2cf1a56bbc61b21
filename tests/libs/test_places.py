"""Places follow the world, and keep what is known better than it says."""

from __future__ import annotations

from typing import Any

from libs.common.catalog import Model, Permits
from libs.common.clock import ManualClock
from libs.common.envelope import Outcome
from libs.common.errors import ModelFailed, OutOfCapacity, ServerLost
from libs.common.places import Places
from libs.common.ranking import Place, used_share
from libs.common.world import World
from libs.common.world_map import Ref, Resource, Server, Shard, ShardLoad, Update, shard_key
from tests.places import AMS, LHR, SIN

MODEL = Model(name="m", task="text-generation", permits=Permits(queue=7))


def shard(colo: str, owner: str = "", epoch: int = 1, index: int = 0) -> Shard:
    return Shard(model="m", colo=colo, index=index, owner=owner or f"{colo}-server", epoch=epoch)


def server(name: str, **said: Any) -> Server:
    return Server(name=name, colo=name[:3], address=f"{name}:1", **said)


def load(colo: str, **shown: Any) -> ShardLoad:
    how = {"permits": 4, "free": 4} | shown
    return ShardLoad(model="m", colo=colo, index=0, server=f"{colo}-server", **how)


class Seen:
    """A world, and the places in it as seen from Amsterdam."""

    def __init__(self, *resources: Resource) -> None:
        self.clock = ManualClock()
        self.world = World()
        self.places = Places(world=self.world, colo="ams", clock=self.clock.now)
        whole = (AMS, LHR, SIN, MODEL, *map(server, ("ams-server", "lhr-server")))
        self.world.apply(Update(version=1, complete=True, puts=(*whole, *resources)))

    def put(self, *resources: Resource) -> None:
        self.world.apply(Update(version=self.world.version + 1, puts=resources))

    def at(self, colo: str, index: int = 0) -> Place:
        found = self.places.at("m", colo, index)
        assert found is not None
        return found


def test_the_nearest_colo_comes_first_and_the_own_one_before_all() -> None:
    seen = Seen(shard("lhr"), shard("ams"), shard("sin", owner="lhr-server"))

    assert [each.colo for each in seen.places.of("m")] == ["ams", "lhr", "sin"]
    assert seen.places.of("nobody's") == ()
    assert seen.at("ams").queue_limit == 7


def test_a_shard_without_a_live_owner_is_no_place() -> None:
    seen = Seen(shard("lhr", owner="gone"), shard("ams"))
    assert [each.colo for each in seen.places.of("m")] == ["ams"]
    assert not seen.at("ams").is_watched

    seen.put(server("gone"))
    assert seen.at("ams").is_watched

    seen.world.apply(Update(version=9, deletes=(Ref("server", "gone"),)))
    assert not seen.at("ams").is_watched


def test_loads_fill_places_and_make_none_anew() -> None:
    seen = Seen(shard("ams"), shard("lhr"), load("ams", free=1, queued=2, done=4, service_s=1.0))
    ams, lhr = seen.at("ams"), seen.at("lhr")
    assert (ams.free, ams.queued, ams.service_ms) == (1, 2, 250.0)
    assert not lhr.is_known

    seen.put(load("lhr", free=3))

    assert seen.at("lhr") is lhr
    assert (lhr.is_known, lhr.free, lhr.permits) == (True, 3, 4)


def test_what_was_known_outlives_another_servers_coming() -> None:
    seen = Seen(shard("ams"), shard("lhr"), load("ams"), load("lhr"))
    before = seen.at("lhr")
    before.sends(seen.clock.now())
    before.measures(33.0)
    before.fails(seen.clock.now())

    seen.put(server("fra-server"))

    after = seen.at("lhr")
    assert after is not before
    assert (after.room, after.distance_ms, after.failures) == (3, 33.0, 1)


def test_a_new_owner_starts_with_what_is_known_of_the_shard_alone() -> None:
    seen = Seen(shard("ams"), shard("lhr"), load("lhr", free=2))
    seen.at("lhr").fails(seen.clock.now())
    seen.at("lhr").sends(seen.clock.now())

    seen.put(server("lhr-2"), shard("lhr", owner="lhr-2", epoch=2))

    place = seen.at("lhr")
    assert (place.server, place.epoch, place.address) == ("lhr-2", 2, "lhr-2:1")
    assert (place.free, place.permits, place.unseen) == (2, 4, 0)
    assert (place.failures, place.away_until) == (0, 0.0)


def test_a_draining_server_is_seen_as_such() -> None:
    seen = Seen(shard("ams"), load("ams"))

    seen.put(server("ams-server", draining=True))

    assert seen.at("ams").draining


def test_errors_tell_how_full_a_place_is_or_that_it_is_lost() -> None:
    seen = Seen(shard("ams"), shard("lhr"), load("ams"))
    place = seen.at("ams")
    full = OutOfCapacity("full")
    full.free_permits, full.queue_length = 0, 5

    seen.places.refused(place, full)
    assert (place.free, place.queued, used_share(place)) == (0, 5, 2.25)

    seen.places.refused(place, ServerLost("gone"))
    assert place.away_until > seen.clock.now()

    seen.places.refused(place, ModelFailed("of an older server, which tells nothing"))
    assert place.away_until > seen.clock.now()

    seen.places.answered(place, Outcome(serving_colo="ams", free_permits=3))
    assert (place.free, place.away_until) == (3, 0.0)


def test_keys_are_those_of_the_world() -> None:
    seen = Seen(shard("ams"), shard("ams", index=1))

    assert seen.places.at("m", "ams", 1) is seen.places.of("m")[0].places[1]
    assert shard_key("ams", "m", 1) == shard("ams", index=1).key
