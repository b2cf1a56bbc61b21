"""Our own nodes: told through control's assignments, which their agents carry out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.away import lost, reached
from libs.common.clock import Clock
from libs.common.errors import BadInput
from libs.common.ports import ControlPlane
from libs.common.world import World
from libs.common.world_map import Assignment, Colo, Instance, Node, Resource
from services.scheduler.placement import FleetState, Seat
from services.scheduler.plan import Plan
from services.scheduler.usage import regions


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a node may be silent: until nothing new goes there, and until it is replaced."""

    away_s: float = 30.0
    gone_s: float = 300.0


USUAL = Patience()


class NodeFleet:
    """Implements `ports.Fleet`."""

    def __init__(
        self,
        *,
        control: ControlPlane,
        world: World,
        clock: Clock,
        patience: Patience = USUAL,
    ) -> None:
        self._control = control
        self._world = world
        self._clock = clock
        self._patience = patience
        self._alone_at: dict[str, float] = {}  # by region, when nothing was heard of any node

    def state(self) -> FleetState:
        """Return the nodes, what each of them should run as of now, and what it has ready.

        What a node should run that control does not know stays as it is: it will report again.
        Unless its colo is there no more: no node can report from one that there is not.
        """
        nodes, colos = self._world.table(Node), self._world.table(Colo)
        assigned = {
            Seat(each.node, each.model): each.instances
            for each in self._world.table(Assignment).values()
            if each.node in nodes or (each.colo and each.colo not in colos)
        }
        return FleetState(
            nodes=sorted(nodes.values(), key=lambda node: node.name),
            assigned=assigned,
            ready=self._ready(),
            away=self._silent_for(self._patience.away_s),
            lost=self._lost(assigned, self._silent_for(self._patience.gone_s) & self._judged()),
        )

    def _ready(self) -> Counter[Seat]:
        gone = lost(self._world)
        return Counter(
            Seat(each.node, each.model)
            for each in self._world.table(Instance).values()
            if each.state == "ready" and not each.external and each.id not in gone
        )

    def _silent_for(self, seconds: float) -> frozenset[str]:
        until = self._clock.unix_ms() - 1000 * seconds
        nodes = self._world.table(Node).values()
        return frozenset(node.name for node in nodes if 0 < node.away_since_ms <= until)

    def _judged(self) -> frozenset[str]:
        """Return the nodes of regions where some have reported for a while.

        After a cut they come back one by one: the first is not to get what the others still have.
        """
        nodes, region_of = self._world.table(Node).values(), regions(self._world)
        heard = {region_of.get(node.colo, "") for node in nodes if not node.away_since_ms}
        now = self._clock.now()
        for region in {region_of.get(node.colo, "") for node in nodes}:
            if region not in heard:
                self._alone_at[region] = now
            self._alone_at.setdefault(region, now)
        since = now - self._patience.away_s
        return frozenset(
            node.name for node in nodes if self._alone_at[region_of.get(node.colo, "")] <= since
        )

    def _lost(self, assigned: Mapping[Seat, int], gone: frozenset[str]) -> dict[Seat, int]:
        """Return what nodes that are gone should run, and no server reaches there."""
        if not gone:
            return {}
        serving = Counter(
            Seat(each.node, each.model)
            for each in map(self._world.table(Instance).get, reached(self._world))
            if each is not None and each.node in gone
        )
        left = {seat: n - serving[seat] for seat, n in assigned.items() if seat.node in gone}
        return {seat: count for seat, count in left.items() if count > 0}

    async def apply(self, plan: Plan) -> None:
        """Write the assignments, those that make room first, then the decisions.

        One that is refused does not hold up the others; it is raised in the end.
        """
        refused: list[BadInput] = []
        for name in plan.deletes:
            await self._control.delete(name)
        resources: tuple[Resource, ...] = (*plan.puts, *plan.decisions)
        for resource in resources:
            try:
                await self._control.put(resource)
            except BadInput as error:
                refused.append(error)
        if refused:
            raise refused[0]
