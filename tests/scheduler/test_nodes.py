"""Our fleet of nodes, as the scheduler sees it."""

from __future__ import annotations

from libs.common.world import World
from libs.common.world_map import (
    Assignment,
    Colo,
    Instance,
    InstanceState,
    Node,
    Ref,
    Resource,
    Update,
)
from services.scheduler.fleets.nodes import NodeFleet
from services.scheduler.placement import Seat
from services.scheduler.plan import make_plan


class NoControl:
    """Is never asked: only the state is looked at."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


def fleet(*resources: Resource) -> NodeFleet:
    world = World()
    world.apply(Update(version=1, complete=True, puts=resources))
    return NodeFleet(control=NoControl(), world=world)  # type: ignore[arg-type]


def test_what_a_node_that_is_away_should_run_is_left_alone() -> None:
    here = Assignment(node="here", model="m", instances=2)
    away = Assignment(node="away", model="m", instances=1)

    state = fleet(Node(name="here", colo="ams"), here, away).state()

    assert state.assigned == {Seat("here", "m"): 2}
    assert [node.name for node in state.nodes] == ["here"]


def test_what_a_node_of_a_colo_that_is_gone_should_run_is_forgotten() -> None:
    here = Assignment(node="here", model="m", instances=2, colo="ams")
    away = Assignment(node="away", model="m", instances=1, colo="ams")
    gone = Assignment(node="gone", model="m", instances=1, colo="lhr")

    state = fleet(Colo(name="ams"), Node(name="here", colo="ams"), here, away, gone).state()
    plan = make_plan({Seat("here", "m"): 2}, state, [])

    assert plan.puts == ()
    assert plan.deletes == (Ref("assignment", "gone/m"),)


def test_only_what_is_ready_on_our_nodes_counts_as_such() -> None:
    states: tuple[InstanceState, ...] = ("ready", "booting", "failed", "draining", "ready")
    there = [
        Instance(id=f"here/m/{slot}", model="m", colo="ams", node="here", state=state)
        for slot, state in enumerate(states)
    ]
    others = Instance(id="gpu-1:8001", model="m", colo="ams", state="ready", external=True)

    state = fleet(Node(name="here", colo="ams"), *there, others).state()

    assert state.ready == {Seat("here", "m"): 2}
