"""What to write into control: the assignments that change, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from libs.common.world_map import Assignment, Decision, Ref, ref
from services.scheduler.placement import Seat


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Assignments to write and to remove, and the decisions behind them."""

    puts: tuple[Assignment, ...] = ()
    deletes: tuple[Ref, ...] = ()
    decisions: tuple[Decision, ...] = ()


def make_plan(
    counts: Mapping[Seat, int], assigned: Mapping[Seat, int], decisions: Sequence[Decision]
) -> Plan:
    """Return what leads from `assigned` to `counts`."""
    changed = sorted(seat for seat, count in counts.items() if count != assigned.get(seat))
    gone = sorted(assigned.keys() - counts.keys())
    return Plan(
        puts=tuple(_assignment(seat, counts[seat]) for seat in changed),
        deletes=tuple(ref(_assignment(seat, 0)) for seat in gone),
        decisions=tuple(decisions),
    )


def _assignment(seat: Seat, count: int) -> Assignment:
    return Assignment(node=seat.node, model=seat.model, instances=count)
