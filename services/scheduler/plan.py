"""What to write into control: the assignments that change, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from libs.common.world_map import Assignment, Decision, Ref, ref
from services.scheduler.placement import FleetState, Seat


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Assignments to write and to remove, and the decisions behind them."""

    puts: tuple[Assignment, ...] = ()
    deletes: tuple[Ref, ...] = ()
    decisions: tuple[Decision, ...] = ()


def make_plan(counts: Mapping[Seat, int], fleet: FleetState, decisions: Sequence[Decision]) -> Plan:
    """Return what leads from what the fleet should run to `counts`.

    What becomes fewer comes first: a node sees one change after the other, and must not take a
    moment's too much for what it should run.
    """
    assigned = fleet.assigned
    changed = sorted(
        (seat for seat, count in counts.items() if count != assigned.get(seat)),
        key=lambda seat: (counts[seat] > assigned.get(seat, 0), seat),
    )
    gone = sorted(assigned.keys() - counts.keys())
    colo_of = {node.name: node.colo for node in fleet.nodes}
    return Plan(
        puts=tuple(
            Assignment(
                node=seat.node,
                model=seat.model,
                instances=counts[seat],
                colo=colo_of.get(seat.node, ""),
            )
            for seat in changed
        ),
        deletes=tuple(
            ref(Assignment(node=seat.node, model=seat.model, instances=0)) for seat in gone
        ),
        decisions=tuple(decisions),
    )
