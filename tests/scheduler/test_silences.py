"""Decisions say of which nodes nothing is heard, and what stays assigned there."""

from __future__ import annotations

from libs.common.world_map import Node
from services.scheduler.placement import FleetState, Seat
from services.scheduler.silences import silences_of
from services.scheduler.usage import Key


def test_a_decision_says_how_long_a_node_has_been_silent_and_what_stays_there() -> None:
    nodes = [Node(name="here", colo="ams"), Node(name="dead", colo="ams", away_since_ms=30_000)]
    assigned = {Seat("here", "m"): 1, Seat("dead", "m"): 2, Seat("dead", "other"): 1}
    fleet = FleetState(nodes=nodes, assigned=assigned, away=frozenset({"dead"}))

    found = silences_of(fleet, {Seat("dead", "m"): 1}, {"ams": "eu"}, at_ms=100_000)

    silent = "dead has not been heard from for 70 s"
    assert found == {
        Key("m", "eu"): [f"{silent}, 1 of its 2 stay"],
        Key("other", "eu"): [f"{silent}, 0 of its 1 stay"],
    }
