"""Routing: a view of the world that is fresher than the last reports."""

from libs.common.clock import ManualClock
from libs.common.envelope import Outcome
from libs.common.ranking import Wish
from libs.common.world_map import Ref, Shard, Update
from services.entry.routing import Routes, only
from tests.entry.fakes import TEXT, place, small_world
from tests.fakes import put


def colo_of(routes: Routes, wish: Wish | None = None) -> str:
    found = routes.to(TEXT, wish) if wish else routes.to(TEXT)
    return found.colo if found else ""


def test_routes_follow_the_world() -> None:
    world = small_world("ams")
    routes = Routes(world=world, colo="ams", clock=ManualClock())
    assert colo_of(routes) == "ams"

    put(world, *place(TEXT, "ams", free=0, permits=0), *place(TEXT, "lhr"))

    assert colo_of(routes) == "lhr"
    assert colo_of(routes, Wish(preferred="ams")) == "lhr", "a wish makes no permits"
    assert routes.to("nobody's") is None


def test_a_place_without_another_is_known_beforehand() -> None:
    world = small_world("ams")
    routes = Routes(world=world, colo="ams", clock=ManualClock())
    alone = only(routes.places.of(TEXT))
    assert alone is not None
    assert not alone.is_watched

    put(world, *place(TEXT, "lhr"))

    assert only(routes.places.of(TEXT)) is None
    assert only(routes.places.of("nobody's")) is None


def test_an_answer_tells_how_far_a_colo_is_but_for_the_own_one() -> None:
    clock = ManualClock()
    routes = Routes(world=small_world("ams", "lhr"), colo="ams", clock=clock)
    ams, lhr = (site.places[0] for site in routes.places.of(TEXT))
    began = clock.now()
    clock.advance(0.040)

    routes.answered(lhr, Outcome(serving_colo="lhr", free_permits=1), began)
    routes.answered(ams, Outcome(serving_colo="ams", free_permits=2), began)
    routes.answered(lhr, Outcome(serving_colo="sin", free_permits=3), began - 1)

    assert (round(lhr.distance_ms), ams.distance_ms) == (40, 0.0)
    assert (lhr.free, ams.free) == (3, 2)


def test_an_owner_may_come_where_there_is_a_shard() -> None:
    world = small_world("ams")
    routes = Routes(world=world, colo="ams", clock=ManualClock())

    world.apply(Update(version=99, deletes=(Ref("server", "server-ams"),)))
    put(world, Shard(model=TEXT, colo="ams", index=0, owner="", epoch=8))

    assert routes.to(TEXT) is None
    assert routes.may_come(TEXT)
    assert not routes.may_come("nobody's")
