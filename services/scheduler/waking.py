"""Calls for a model of which no instance runs: they must not wait for the next step.

Those that can wait for a boot are in a queue; those that cannot were refused, and will come again.
"""

from __future__ import annotations

from libs.common.catalog import Model
from libs.common.world import World
from libs.common.world_map import Instance, ShardLoad, Update
from services.scheduler.usage import Key, is_scaled, regions


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
        loads = [each for each in update.puts if isinstance(each, ShardLoad) and self._asks(each)]
        came = [each for each in update.puts if isinstance(each, Instance)]
        if not loads and not came:
            return False
        region_of = regions(self._world)
        self._seen -= {Key(each.model, region_of.get(each.colo, "")) for each in came}
        waiting = {Key(each.model, region_of.get(each.colo, "")) for each in loads}
        waiting = {key for key in waiting if self._has_none(key)}
        is_new = bool(waiting - self._seen)
        self._seen |= waiting
        return is_new

    def _asks(self, load: ShardLoad) -> bool:
        """Whether a call waits, or has been refused since the last report."""
        refused = sum(load.rejected.values())
        before = self._refused.get(load.key, refused)
        self._refused[load.key] = refused
        return load.queued > 0 or refused > before

    def _has_none(self, key: Key) -> bool:
        """Whether nodes should run this model, and none in the region does."""
        model = self._world.table(Model).get(key.model)
        region_of = regions(self._world)
        return (
            model is not None
            and is_scaled(model)
            and not any(
                each.model == key.model and region_of.get(each.colo, "") == key.region
                for each in self._world.table(Instance).values()
            )
        )
