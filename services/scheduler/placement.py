"""Which node runs how many instances of each model.

What is placed stays where it is. What is too much goes from nodes where it is not
ready, then from the node that has most of it; what is missing goes to nodes that have
room, one by one, what matters most first: spread over colos and nodes, before that to
nodes that have the weights, and packed so that whole GPUs stay whole. Where there is
no room, instances that matter less give way.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from libs.common.world_map import Node
from services.scheduler.board import Board
from services.scheduler.usage import Key
from services.scheduler.worth import Want


class Seat(NamedTuple):
    """A model on a node."""

    node: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """The nodes, and how many instances each should run as of now, and has ready.

    Nothing is placed on those that are `away`. What is `lost` there for too long goes elsewhere.
    """

    nodes: Sequence[Node]
    assigned: Mapping[Seat, int]
    ready: Mapping[Seat, int] = field(default_factory=dict)
    away: frozenset[str] = frozenset()
    lost: Mapping[Seat, int] = field(default_factory=dict)  # of what is assigned


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How many instances each node should run, and why a want is not met."""

    counts: Mapping[Seat, int]
    unmet: Mapping[Key, str]


def place(wants: Iterable[Want], fleet: FleetState, region_of: Mapping[str, str]) -> Placement:
    """Place every want as far as there is room, what matters most first."""
    by_region: dict[str, list[Want]] = {}
    for want in wants:
        by_region.setdefault(want.region, []).append(want)
    there = {seat: count - fleet.lost.get(seat, 0) for seat, count in fleet.assigned.items()}
    assigned, ready = _by_model(there), _by_model(fleet.ready)
    counts: dict[Seat, int] = {}
    unmet: dict[Key, str] = {}
    for region, mine in by_region.items():
        nodes = [node for node in fleet.nodes if region_of.get(node.colo, "") == region]
        board = Board(nodes, mine, away=fleet.away)
        for want in mine:
            name = want.model.name
            board.keep(want, assigned.get(name, {}), ready.get(name, {}))
        unmet |= _fill(board, mine)
        counts |= {Seat(*seat): count for seat, count in board.counts()}
    return Placement(counts=counts, unmet=unmet)


def _by_model(seats: Mapping[Seat, int]) -> Mapping[str, Mapping[str, int]]:
    """Return the same by model and node."""
    found: dict[str, dict[str, int]] = {}
    for (node, model), count in seats.items():
        found.setdefault(model, {})[node] = count
    return found


def left_there(
    wants: Iterable[Want],
    counts: Mapping[Seat, int],
    fleet: FleetState,
    region_of: Mapping[str, str],
) -> dict[Seat, int]:
    """Return what stays assigned though it is lost, for it has found no place elsewhere.

    Where all nodes of a region are cut off, nothing is taken from them.
    """
    regions = {node.name: region_of.get(node.colo, "") for node in fleet.nodes}
    placed = by_key(counts, fleet.nodes, region_of)
    missing = {want.key: want.instances - placed.get(want.key, 0) for want in wants}
    left = {}
    for seat, count in sorted(fleet.lost.items()):
        key = Key(seat.model, regions[seat.node])
        if (stays := min(count, missing.get(key, 0))) > 0:
            left[seat] = stays
            missing[key] -= stays
    return left


def by_key(
    counts: Mapping[Seat, int], nodes: Iterable[Node], region_of: Mapping[str, str]
) -> dict[Key, int]:
    """Return how many of each model there are in each region, on these nodes."""
    regions = {node.name: region_of.get(node.colo, "") for node in nodes}
    found: dict[Key, int] = {}
    for seat, count in counts.items():
        if seat.node in regions:
            key = Key(seat.model, regions[seat.node])
            found[key] = found.get(key, 0) + count
    return found


def _fill(board: Board, wants: Sequence[Want]) -> dict[Key, str]:
    """Place what is missing; return why that was not possible.

    Each step makes what is placed matter more, so it comes to an end. Who found no room is asked
    again as long as others found some: there may be others to give way now.
    """
    by_key = {want.key: want for want in wants}
    queue: list[tuple[tuple[bool, int, float], Key]] = []
    failed: dict[Key, int] = {}  # and how much had been placed by then
    steps = 0

    def ask(keys: Iterable[Key]) -> None:
        for key in keys:
            if entry := _next(board, by_key[key]):
                heapq.heappush(queue, entry)

    ask(by_key)
    while queue:
        want = by_key[heapq.heappop(queue)[1]]
        if board.placed(want) < want.instances:
            displaced = set() if (added := board.add(want)) else board.displace(want)
            if added or displaced:
                steps += 1
                ask({want.key, *displaced})
            else:
                failed[want.key] = steps
        if not queue:
            ask(key for key, since in failed.items() if since < steps)
    return {
        key: f"no room for {missing}: {board.why_not(by_key[key])}"
        for key in failed
        if (missing := by_key[key].instances - board.placed(by_key[key])) > 0
    }


def _next(board: Board, want: Want) -> tuple[tuple[bool, int, float], Key] | None:
    """Return the instance that is to be placed next, what matters most first, if one is missing."""
    placed = board.placed(want)
    if placed >= want.instances:
        return None
    promised, priority, worth = want.rank(placed + 1)
    return (not promised, -priority, -worth), want.key
