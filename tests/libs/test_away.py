"""Which instances of silent nodes are lost, and which may still serve."""

from __future__ import annotations

import pytest

from libs.common.away import lost, reached
from libs.common.world import World
from libs.common.world_map import EndpointLoad, Instance, Node, ShardLoad, Update


def world(*, away_since_ms: int, state: str = "") -> World:
    made = World()
    endpoint = EndpointLoad(instance="a", address="h:1", state=state)  # type: ignore[arg-type]
    load = ShardLoad(
        model="m", colo="ams", index=0, server="s", endpoints=(endpoint,) if state else ()
    )
    puts = (
        Node(name="n", colo="ams", away_since_ms=away_since_ms),
        Node(name="other", colo="ams"),
        Instance(id="a", model="m", colo="ams", node="n", state="ready"),
        Instance(id="b", model="m", colo="ams", node="other", state="ready"),
        load,
    )
    made.apply(Update(version=1, complete=True, puts=puts))
    return made


@pytest.mark.parametrize(
    ("away_since_ms", "state", "expected"),
    [(0, "", set()), (5, "", {"a"}), (5, "backoff", {"a"}), (5, "healthy", set())],
    ids=["it reports", "no server tells of it", "servers do not reach it", "it serves"],
)
def test_what_a_silent_node_has_is_lost_unless_servers_reach_it(
    away_since_ms: int, state: str, expected: set[str]
) -> None:
    made = world(away_since_ms=away_since_ms, state=state)

    assert set(lost(made)) == expected
    assert reached(made) == ({"a"} if state == "healthy" else set())
