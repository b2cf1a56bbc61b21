"""Our own nodes: told through control's assignments, which their agents carry out."""

from __future__ import annotations

from collections import Counter

from libs.common.errors import BadInput
from libs.common.ports import ControlPlane
from libs.common.world import World
from libs.common.world_map import Assignment, Colo, Instance, Node, Resource
from services.scheduler.placement import FleetState, Seat
from services.scheduler.plan import Plan


class NodeFleet:
    """Implements `ports.Fleet`."""

    def __init__(self, *, control: ControlPlane, world: World) -> None:
        self._control = control
        self._world = world

    def state(self) -> FleetState:
        """Return the nodes, what each of them should run as of now, and what it has ready.

        What a node that is away should run stays as it is: it runs on, and will report again.
        Unless its colo is there no more: no node can report from one that there is not.
        """
        nodes, colos = self._world.table(Node), self._world.table(Colo)
        assignments = (
            each
            for each in self._world.table(Assignment).values()
            if each.node in nodes or (each.colo and each.colo not in colos)
        )
        return FleetState(
            nodes=sorted(nodes.values(), key=lambda node: node.name),
            assigned={Seat(each.node, each.model): each.instances for each in assignments},
            ready=Counter(
                Seat(each.node, each.model)
                for each in self._world.table(Instance).values()
                if each.state == "ready" and not each.external
            ),
        )

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
