"""What each model has to do in each region, read from the world map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from libs.common.away import lost
from libs.common.catalog import Model
from libs.common.world import World
from libs.common.world_map import Colo, Instance, InstanceState, Node, ShardLoad


class Key(NamedTuple):
    """A model in a region: what is decided about."""

    model: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Requests and instances of a model in a region, now."""

    in_flight: int = 0
    queued: int = 0
    permits: int = 0
    free: int = 0
    instances: Mapping[InstanceState, int]

    @property
    def demand(self) -> int:
        """Requests that want a permit, whether they have one or wait for it."""
        return self.in_flight + self.queued

    @property
    def is_full(self) -> bool:
        """Whether all permits are taken, where there are some."""
        return self.permits > 0 and self.free <= 0

    @property
    def running(self) -> int:
        """Instances that serve."""
        return self.instances.get("ready", 0)

    @property
    def booting(self) -> int:
        """Instances that will serve."""
        return self.instances.get("booting", 0)


def regions(world: World) -> dict[str, str]:
    """Return the region of each colo."""
    return {colo.name: colo.region for colo in world.table(Colo).values()}


def is_scaled(model: Model) -> bool:
    """Whether nodes run this model; what others run is theirs to scale."""
    return bool(model.backend.repository or model.backend.command) and not model.backend.external


def read(world: World) -> dict[Key, Usage]:
    """Return the usage of every model that nodes run, in every region that has nodes.

    Instances on nodes that are away count as long as servers reach them.
    """
    region_of = regions(world)
    models = [model.name for model in world.table(Model).values() if is_scaled(model)]
    loads: dict[Key, list[ShardLoad]] = {}
    for load in world.table(ShardLoad).values():
        loads.setdefault(Key(load.model, region_of.get(load.colo, "")), []).append(load)
    instances: dict[Key, list[Instance]] = {}
    gone = lost(world)
    for name, each in world.table(Instance).items():
        if name in gone:
            continue
        instances.setdefault(Key(each.model, region_of.get(each.colo, "")), []).append(each)
    with_nodes = {region_of.get(node.colo, "") for node in world.table(Node).values()}
    keys = (Key(model, region) for model in models for region in sorted(with_nodes))
    return {key: _usage(loads.get(key, []), instances.get(key, [])) for key in keys}


def _usage(loads: list[ShardLoad], instances: list[Instance]) -> Usage:
    states: dict[InstanceState, int] = {}
    for each in instances:
        states[each.state] = states.get(each.state, 0) + 1
    return Usage(
        in_flight=sum(load.in_flight for load in loads),
        queued=sum(load.queued for load in loads),
        permits=sum(load.permits for load in loads),
        free=sum(load.free for load in loads),
        instances=states,
    )
