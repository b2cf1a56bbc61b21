"""Calls for a model of which no instance serves or boots: they must not wait for the next step.

Those that can wait for a boot are in a queue; those that cannot were refused, and will come again.
An instance that drains takes no more of them, but a step in time has it serve again.
"""

from __future__ import annotations

from libs.common.catalog import Model
from libs.common.world import World
from libs.common.world_map import Instance, InstanceState, ShardLoad, Update
from services.scheduler.usage import Key, is_scaled, regions

COMES: tuple[InstanceState, ...] = ("booting", "ready")  # who serves, or will


class Waking:
    """Sees the first such call of a model in a region, and the next once it has had an instance.

    Where no instance can be placed, the calls that come meanwhile are nothing new.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: set[Key] = set()
        self._refused = {  # by shard, since its server's boot
            name: sum(load.rejected.values()) for name, load in world.table(ShardLoad).items()
        }

    def __repr__(self) -> str:
        return f"<Waking {' '.join(key.model for key in self._seen)}>"

    def is_due(self, update: Update) -> bool:
        """Whether a change, which the world has taken in, shows such a call."""
        asking = [each for each in update.puts if isinstance(each, ShardLoad) and self._asks(each)]
        if "instance" in update.kinds:  # one may have gone from calls that wait already
            asking += [each for each in self._world.table(ShardLoad).values() if each.queued]
        came = [each for each in update.puts if isinstance(each, Instance) and each.state in COMES]
        if not asking and not came:
            return False
        region_of = regions(self._world)

        def key(each: Instance | ShardLoad) -> Key:
            return Key(each.model, region_of.get(each.colo, ""))

        self._seen.difference_update(map(key, came))
        waiting = {key(each) for each in asking if self._is_ours(each.model)}
        models = {each.model for each in waiting}
        there = self._world.table(Instance).values()
        waiting -= {key(each) for each in there if each.model in models and each.state in COMES}
        is_new = bool(waiting - self._seen)
        self._seen |= waiting
        return is_new

    def _asks(self, load: ShardLoad) -> bool:
        """Whether a call waits, or has been refused since the last report."""
        refused = sum(load.rejected.values())
        before = self._refused.get(load.key, refused)
        self._refused[load.key] = refused
        return load.queued > 0 or refused > before

    def _is_ours(self, name: str) -> bool:
        """Whether nodes should run this model."""
        model = self._world.table(Model).get(name)
        return model is not None and is_scaled(model)
