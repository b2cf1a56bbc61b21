"""Usage and plan: small values made from the world map."""

from __future__ import annotations

from libs.common.catalog import Backend, Model
from libs.common.world import World
from libs.common.world_map import (
    Assignment,
    Colo,
    Instance,
    InstanceState,
    Node,
    Ref,
    ShardLoad,
    Update,
)
from services.scheduler.placement import FleetState, Seat
from services.scheduler.plan import make_plan
from services.scheduler.usage import Key, Usage, read

OURS = Model(name="m", task="text-generation", backend=Backend(repository="models/m"))
FAR = Model(name="far", task="text-generation", backend=Backend(external=("h:1",)))


def load(colo: str, index: int, in_flight: int, queued: int) -> ShardLoad:
    return ShardLoad(
        model="m", colo=colo, index=index, server="s", in_flight=in_flight, queued=queued
    )


def instance(id_: str, colo: str, state: InstanceState) -> Instance:
    return Instance(id=id_, model="m", colo=colo, node="n", state=state)


def test_usage_is_summed_over_the_shards_and_colos_of_a_region() -> None:
    world = World()
    puts = (
        *(Colo(name="ams", region="eu"), Colo(name="lhr", region="eu")),
        *(Colo(name="sfo", region="us"), Colo(name="nrt", region="ap")),
        *(Node(name="n1", colo="ams"), Node(name="n2", colo="sfo")),
        *(OURS, FAR),
        *(load("ams", 0, 3, 2), load("ams", 1, 1, 0), load("lhr", 0, 4, 1), load("sfo", 0, 9, 0)),
        *(instance("a", "ams", "ready"), instance("b", "lhr", "ready")),
        instance("c", "lhr", "booting"),
    )
    world.apply(Update(version=1, complete=True, puts=puts))

    usage = read(world)

    assert usage == {
        Key("m", "eu"): Usage(in_flight=8, queued=3, instances={"ready": 2, "booting": 1}),
        Key("m", "us"): Usage(in_flight=9, queued=0, instances={}),
    }
    assert usage[Key("m", "eu")].demand == 11
    assert usage[Key("m", "eu")].running == 2


def test_a_plan_has_only_what_changes() -> None:
    nodes = [Node(name="n1", colo="ams"), Node(name="n2", colo="ams"), Node(name="n4", colo="lhr")]
    assigned = {Seat("n1", "m"): 1, Seat("n2", "m"): 2, Seat("n3", "m"): 1}
    counts = {Seat("n1", "m"): 1, Seat("n2", "m"): 1, Seat("n4", "m"): 1}

    plan = make_plan(counts, FleetState(nodes=nodes, assigned=assigned), [])

    assert plan.puts == (
        Assignment(node="n2", model="m", instances=1, colo="ams"),
        Assignment(node="n4", model="m", instances=1, colo="lhr"),
    )
    assert plan.deletes == (Ref("assignment", "n3/m"),)


def test_what_becomes_fewer_is_written_before_what_becomes_more() -> None:
    """Else a node would start, for a moment, more than it has room for."""
    state = FleetState(
        nodes=[Node(name="n1", colo="ams")], assigned={Seat("n1", "a"): 1, Seat("n1", "b"): 2}
    )

    plan = make_plan({Seat("n1", "a"): 3, Seat("n1", "b"): 1, Seat("n1", "c"): 1}, state, [])

    assert [(each.model, each.instances) for each in plan.puts] == [("b", 1), ("a", 3), ("c", 1)]
