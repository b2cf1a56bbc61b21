"""Nodes and their instances, kept over a restart of control, and forgotten long after they left.

Without it a node that is away while control restarts would be unknown: its instances would leave
the map though they serve, and others would be started in their place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from libs.common.away import reached
from libs.common.clock import Clock
from libs.common.errors import Unavailable
from libs.common.world import World
from libs.common.world_map import Assignment, Colo, Instance, Node, Ref, Resource, ref
from services.control.ports import Store
from services.control.reporters import Reporters
from services.control.settings import Settings

KEEP_S: Final = 1.0
log = logging.getLogger(__name__)


class Machines:
    """Keeps what nodes report in the store, soon after it has changed."""

    def __init__(
        self, *, world: World, store: Store, reporters: Reporters, clock: Clock, settings: Settings
    ) -> None:
        self._world = world
        self._store = store
        self._reporters = reporters
        self._clock = clock
        self._forget_s = settings.node_forget_s
        self._kept: dict[Ref, Resource] = {}
        self._is_failing = False

    def __repr__(self) -> str:
        return f"<Machines {len(self._kept)} kept>"

    def restore(self, kept: Iterable[Resource]) -> list[str]:
        """Show what is kept of nodes in colos that there are; return those that reported last."""
        self._kept = {ref(each): each for each in kept if isinstance(each, Node | Instance)}
        colos = self._world.table(Colo)
        nodes = [n for n in self._kept.values() if isinstance(n, Node) and n.colo in colos]
        self._reporters.restore(nodes, (i for i in self._kept.values() if isinstance(i, Instance)))
        return [node.name for node in nodes if not node.away_since_ms]

    async def run(self) -> None:
        """Keep and forget until cancelled."""
        while True:
            await asyncio.sleep(KEEP_S)
            self.forget()
            await self.keep()

    def forget(self) -> None:
        """Forget nodes that have been away for long, if nothing is assigned or serves there."""
        until = self._clock.unix_ms() - 1000 * self._forget_s
        nodes = self._world.table(Node).values()
        gone = {node.name for node in nodes if 0 < node.away_since_ms <= until}
        if not gone:
            return
        gone -= {each.node for each in self._world.table(Assignment).values()}
        serving = map(self._world.table(Instance).get, reached(self._world))
        for name in gone - {each.node for each in serving if each is not None}:
            log.warning("node %s is forgotten: it has not reported for long", name)
            self._reporters.forget_node(name)

    async def keep(self) -> None:
        """Write what is other than what is kept."""
        instances = self._world.table(Instance).values()
        shown: list[Resource] = [*self._world.table(Node).values()]
        shown += [each for each in instances if not each.external]
        now = {ref(each): each for each in shown}
        puts = [each for name, each in now.items() if self._kept.get(name) != each]
        gone = [name for name in self._kept if name not in now]
        if not puts and not gone:
            return
        try:
            await self._store.write(puts, gone)
        except Unavailable as error:
            if not self._is_failing:  # once, until it works again
                log.error("what nodes report is not kept: %s", error)
            self._is_failing = True
        else:
            self._kept, self._is_failing = now, False
