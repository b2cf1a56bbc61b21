"""What a decision says of nodes that nothing is heard of."""

from __future__ import annotations

from collections.abc import Mapping

from services.scheduler.placement import FleetState, Seat
from services.scheduler.usage import Key


def silences_of(
    fleet: FleetState, counts: Mapping[Seat, int], region_of: Mapping[str, str], *, at_ms: int
) -> dict[Key, list[str]]:
    """Return, by model and region, for how long nodes have been silent that had instances of it.

    `counts` is what stays assigned.
    """
    nodes = {node.name: node for node in fleet.nodes if node.name in fleet.away}
    found: dict[Key, list[str]] = {}
    for seat, assigned in sorted(fleet.assigned.items()):
        if assigned and (node := nodes.get(seat.node)) is not None:
            silent_s = max(0, at_ms - node.away_since_ms) / 1000
            text = f"{node.name} has not been heard from for {silent_s:.0f} s"
            stays = f"{counts.get(seat, 0)} of its {assigned} stay"
            key = Key(seat.model, region_of.get(node.colo, ""))
            found.setdefault(key, []).append(f"{text}, {stays}")
    return found
