"""Instances of nodes that nothing is heard of: those that servers still reach may serve.

A dead agent is no dead instance. What servers say of its endpoint tells one from the other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from libs.common.world import World
from libs.common.world_map import Instance, Node, ShardLoad


def reached(world: World) -> set[str]:
    """Return the instances of which a server says that they are healthy."""
    return {
        endpoint.instance
        for load in world.table(ShardLoad).values()
        for endpoint in load.endpoints
        if endpoint.state == "healthy"
    }


def lost(world: World) -> Collection[str]:
    """Return the instances of nodes that are away that no server reaches."""
    away = {node.name for node in world.table(Node).values() if node.away_since_ms}
    if not away:
        return ()
    there: Mapping[str, Instance] = world.table(Instance)
    on_them = {name for name, each in there.items() if each.node in away}
    return on_them - reached(world) if on_them else ()
