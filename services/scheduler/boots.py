"""How long instances take to start: measured as they do, what was given until then.

Three quarters of the last boots were at most so long: one that hung says little about the next,
and the mean would be late half of the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from libs.common.world import World
from libs.common.world_map import Instance
from services.scheduler.usage import Key, regions

KEPT = 20  # boots of a model in a region
SHARE = 0.75


@dataclass(slots=True)
class Boots:
    """The last boots of each model in each region; `known` is of an earlier life."""

    known: dict[Key, float] = field(default_factory=dict)
    _last: dict[Key, deque[float]] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)  # instance: since when it has been ready

    def look(self, world: World) -> None:
        """Take in the boots that have ended."""
        region_of, seen = regions(world), dict[str, int]()
        for name, each in world.table(Instance).items():
            if each.state != "ready" or each.external or each.boot_s <= 0:
                continue
            seen[name] = each.since_ms
            if self._seen.get(name) != each.since_ms:
                key = Key(each.model, region_of.get(each.colo, ""))
                self._last.setdefault(key, deque(maxlen=KEPT)).append(each.boot_s)
        self._seen = seen

    def of(self, key: Key) -> float | None:
        """Return how long the next boot should take, None where none has been seen."""
        last = sorted(self._last.get(key, ()))
        return last[int(SHARE * len(last))] if last else self.known.get(key)

    def measured(self) -> Mapping[Key, float]:
        """Return what is known of each key that has booted."""
        keys = self.known.keys() | self._last.keys()
        return {key: boot_s for key in keys if (boot_s := self.of(key)) is not None}
