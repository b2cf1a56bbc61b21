"""What servers and entries have counted between two looks, by the region where calls came from.

Reports have counters since a boot: a counter that falls began anew, and one that is seen for the
first time only sets the mark, for its past may be long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from libs.common.world import World
from libs.common.world_map import EntryLoad, ShardLoad
from services.scheduler.usage import Key, regions


@dataclass(slots=True)
class Sums:
    """What was counted of a model in a region; the maps are by region.

    `came` are arrivals that entered in another region, and `turned_away` those of them that were
    refused. Of calls that entered here, `seen` were refused or sent on by this region's servers.
    """

    arrivals: float = 0.0
    done: float = 0.0
    service_s: float = 0.0
    late: float = 0.0
    refused: float = 0.0  # by entries, when nobody else had room either
    seen: float = 0.0
    came: dict[str, float] = field(default_factory=dict)
    turned_away: dict[str, float] = field(default_factory=dict)

    def served_for(self, region: str) -> float:
        """Return how many calls of another region were served here."""
        return max(0.0, self.came.get(region, 0.0) - self.turned_away.get(region, 0.0))


class Counting:
    """Takes looks at the world, and hands out what was counted since it was asked last."""

    def __init__(self) -> None:
        self._loads: dict[str, ShardLoad] = {}
        self._entries: dict[str, EntryLoad] = {}
        self._sums: dict[Key, Sums] = {}

    def __repr__(self) -> str:
        return f"<Counting {len(self._loads)} shards, {len(self._entries)} entries>"

    def look(self, world: World) -> None:
        """Add what has been counted since the last look."""
        region_of = regions(world)
        loads = dict(world.table(ShardLoad))
        for name, load in loads.items():
            before = self._loads.get(name)
            if before is not None and before is not load:
                self._add(load, _since(before, load), region_of)
        entries = dict(world.table(EntryLoad))
        for name, entry in entries.items():
            last = self._entries.get(name)
            if last is None or last is entry:
                continue
            is_new = entry.boot_epoch != last.boot_epoch
            for model, count in _grown({} if is_new else last.refused, entry.refused):
                self._of(model, region_of.get(entry.colo, "")).refused += count
        self._loads, self._entries = loads, entries

    def taken(self) -> dict[Key, Sums]:
        """Return what was counted since this was asked last."""
        sums, self._sums = self._sums, {}
        return sums

    def _of(self, model: str, region: str) -> Sums:
        return self._sums.setdefault(Key(model, region), Sums())

    def _add(self, load: ShardLoad, before: ShardLoad | None, region_of: Mapping[str, str]) -> None:
        here = region_of.get(load.colo, "")
        mine = self._of(load.model, here)
        mine.arrivals += load.arrivals - (before.arrivals if before else 0)
        mine.done += load.done - (before.done if before else 0)
        mine.service_s += load.service_s - (before.service_s if before else 0.0)
        mine.late += load.waited_1s - (before.waited_1s if before else 0)
        for colo, count in _grown(before.foreign if before else {}, load.foreign):
            region = region_of.get(colo, here)
            if region != here:
                mine.came[region] = mine.came.get(region, 0.0) + count
        for colo, count in _grown(before.rejected if before else {}, load.rejected):
            region = region_of.get(colo, here)
            if region == here:
                mine.seen += count
            else:
                mine.turned_away[region] = mine.turned_away.get(region, 0.0) + count
        for colo, count in _grown(before.forwarded if before else {}, load.forwarded):
            if region_of.get(colo, here) == here:
                mine.seen += count


def _since(before: ShardLoad, load: ShardLoad) -> ShardLoad | None:
    """Return what to count from: nothing where another server, or another life of it, counts."""
    is_same = (before.server, before.boot_epoch) == (load.server, load.boot_epoch)
    return before if is_same and before.arrivals <= load.arrivals else None


def _grown(before: Mapping[str, int], now: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for name, count in now.items():
        if (more := count - before.get(name, 0)) > 0:
            yield name, more
