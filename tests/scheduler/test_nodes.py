"""Our fleet of nodes, as the scheduler sees it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libs.common.clock import ManualClock
from libs.common.world import World
from libs.common.world_map import (
    Assignment,
    Colo,
    EndpointLoad,
    Instance,
    InstanceState,
    Node,
    Ref,
    Resource,
    ShardLoad,
    Update,
)
from services.scheduler.fleets.nodes import NodeFleet
from services.scheduler.placement import FleetState, Seat
from services.scheduler.plan import make_plan


class NoControl:
    """Is never asked: only the state is looked at."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


def fleet(*resources: Resource) -> NodeFleet:
    world = World()
    world.apply(Update(version=1, complete=True, puts=resources))
    return NodeFleet(control=NoControl(), world=world, clock=ManualClock())  # type: ignore[arg-type]


def test_what_a_node_that_is_not_known_should_run_is_left_alone() -> None:
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


ONE = Node(name="one", colo="ams")
HAS = (Assignment(node="n", model="m", instances=2), Colo(name="ams", region="eu"))


class Story:
    """A fleet, the time, and for how long the node `n` has been silent by then."""

    def __init__(self, *resources: Resource) -> None:
        self.clock = ManualClock()
        self.world = World()
        self.silent = Node(name="n", colo="ams", away_since_ms=self.clock.unix_ms())
        self.put(*HAS, self.silent, *resources)
        self.fleet = NodeFleet(control=NoControl(), world=self.world, clock=self.clock)  # type: ignore[arg-type]

    def put(self, *resources: Resource) -> None:
        self.world.apply(Update(version=self.world.version + 1, complete=False, puts=resources))

    def after(self, seconds: float) -> FleetState:
        """Look as often as the scheduler does, and return what is seen in the end."""
        for _ in range(int(seconds)):
            self.fleet.state()
            self.clock.advance(1.0)
        return self.fleet.state()


@pytest.mark.parametrize(
    ("silent_s", "is_away", "lost"),
    [(0, False, 0), (29, False, 0), (30, True, 0), (299, True, 0), (300, True, 2)],
)
def test_a_silent_node_is_away_and_later_what_it_has_is_lost(
    silent_s: int, is_away: bool, lost: int
) -> None:
    state = Story(ONE).after(silent_s)

    assert state.away == (frozenset({"n"}) if is_away else frozenset())
    assert state.lost == ({Seat("n", "m"): lost} if lost else {})
    assert state.assigned == {Seat("n", "m"): 2}


def test_where_nobody_is_heard_nothing_is_lost_until_others_have_been_back_for_a_while() -> None:
    story = Story(replace(ONE, away_since_ms=1_000_000), Node(name="far", colo="sfo"))

    assert story.after(900).lost == {}
    story.put(ONE)
    assert story.after(29).lost == {}
    assert story.after(1).lost == {Seat("n", "m"): 2}


def test_a_scheduler_that_has_just_started_waits_for_who_comes_back() -> None:
    story = Story(ONE)
    story.clock.advance(1_000)

    assert story.after(29).lost == {}
    assert story.after(1).lost == {Seat("n", "m"): 2}


def test_what_servers_reach_on_a_node_that_is_gone_is_not_lost() -> None:
    load = ShardLoad(
        model="m",
        colo="ams",
        index=0,
        server="s",
        endpoints=(
            EndpointLoad(instance="n/m/0", address="h:1", state="healthy"),
            EndpointLoad(instance="n/m/1", address="h:2", state="backoff"),
        ),
    )
    instances = [
        Instance(id=f"n/m/{at}", model="m", colo="ams", node="n", state="ready") for at in (0, 1)
    ]

    assert Story(ONE, load, *instances).after(300).lost == {Seat("n", "m"): 1}
