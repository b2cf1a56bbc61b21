"""Which node runs how many instances of each model.

What is placed stays where it is. What is too much goes from the node that has
most of it; what is missing goes to nodes that have room, one by one, to the
least loaded first, so that a model is spread over colos and nodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from libs.common.catalog import Model, Resources
from libs.common.world_map import Node
from services.scheduler.usage import Key


class Seat(NamedTuple):
    """A model on a node."""

    node: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """The nodes, and how many instances each should run as of now."""

    nodes: Sequence[Node]
    assigned: Mapping[Seat, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """So many instances of a model in a region."""

    model: Model
    region: str
    instances: int

    @property
    def key(self) -> Key:
        """What is decided about."""
        return Key(self.model.name, self.region)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How many instances each node should run, and why a want is not met."""

    counts: Mapping[Seat, int]
    unmet: Mapping[Key, str]


def place(wants: Iterable[Want], fleet: FleetState, region_of: Mapping[str, str]) -> Placement:
    """Place every want; those of higher priority choose first."""
    ordered = sorted(wants, key=lambda want: (-want.model.priority, want.key))
    board = _Board([_Room(node, region_of.get(node.colo, "")) for node in fleet.nodes])
    for want in ordered:
        board.keep(want, fleet.assigned)
    unmet = {want.key: why for want in ordered if (why := board.fill(want))}
    counts = {
        Seat(room.node.name, model): count
        for room in board.rooms
        for model, count in room.counts.items()
        if count
    }
    return Placement(counts=counts, unmet=unmet)


@dataclass(slots=True)
class _Room:
    """What is placed on a node, and what that takes."""

    node: Node
    region: str
    counts: dict[str, int] = field(default_factory=dict)
    cpus: float = 0.0
    memory_mb: int = 0
    gpus: int = 0
    gpu_memory_mb: int = 0

    def add(self, model: Model, count: int) -> None:
        """Take room for `count` instances; fewer than 0 gives it back."""
        self.counts[model.name] = self.counts.get(model.name, 0) + count
        need = model.resources
        self.cpus += need.cpus * count
        self.memory_mb += need.memory_mb * count
        self.gpus += need.gpus * count
        self.gpu_memory_mb += need.gpu_memory_mb * count

    def refusal(self, model: Model) -> str:
        """Return why one more instance cannot run here, or nothing."""
        if not model.backend.dedicated and self.counts.get(model.name):
            return "has an instance already"
        lacks = [name for name, fits in self._fits(model.resources) if not fits]
        return f"lacks {', '.join(lacks)}" if lacks else ""

    def load(self) -> float:
        """Return how full the node is: the share taken of what is most scarce."""
        parts = (
            (self.cpus, self.node.cpus),
            (self.memory_mb, self.node.memory_mb),
            (self.gpus, self.node.gpus),
            (self.gpu_memory_mb, self.node.gpu_memory_mb),
        )
        return max(used / total if total else 0.0 for used, total in parts)

    def _fits(self, need: Resources) -> tuple[tuple[str, bool], ...]:
        """CPUs and memory may be unknown (0); a GPU is there or not."""
        node = self.node
        return (
            ("CPUs", self.cpus + need.cpus <= (node.cpus or math.inf)),
            ("memory", self.memory_mb + need.memory_mb <= (node.memory_mb or math.inf)),
            ("GPUs", self.gpus + need.gpus <= node.gpus),
            ("GPU memory", self.gpu_memory_mb + need.gpu_memory_mb <= node.gpu_memory_mb),
        )


class _Board:
    """All nodes while instances are being placed on them."""

    def __init__(self, rooms: Sequence[_Room]) -> None:
        self.rooms = rooms

    def keep(self, want: Want, assigned: Mapping[Seat, int]) -> None:
        """Place what is placed already, without what is too much."""
        model, rooms = want.model, self._of(want.region)
        for room in rooms:
            count = assigned.get(Seat(room.node.name, model.name), 0)
            room.add(model, count if model.backend.dedicated else min(count, 1))
        for _ in range(self._placed(want) - want.instances):
            most = max(rooms, key=lambda room: (*_fullness(room, model), room.node.name))
            most.add(model, -1)

    def fill(self, want: Want) -> str:
        """Place what is missing; return why that was not possible, or nothing."""
        model = want.model
        for missing in range(want.instances - self._placed(want), 0, -1):
            rooms = self._of(want.region)
            able = [room for room in rooms if not room.refusal(model)]
            if not able:
                why = "; ".join(f"{room.node.name} {room.refusal(model)}" for room in rooms)
                return f"no room for {missing}: {why or 'the region has no nodes'}"
            min(able, key=lambda room: self._order(room, model)).add(model, 1)
        return ""

    def _order(self, room: _Room, model: Model) -> tuple[float | str, ...]:
        """Sort the best place first."""
        in_colo = (each for each in self.rooms if each.node.colo == room.node.colo)
        there = sum(each.counts.get(model.name, 0) for each in in_colo)
        return (there, *_fullness(room, model), room.node.name)

    def _placed(self, want: Want) -> int:
        return sum(room.counts.get(want.model.name, 0) for room in self._of(want.region))

    def _of(self, region: str) -> list[_Room]:
        return [room for room in self.rooms if room.region == region]


def _fullness(room: _Room, model: Model) -> tuple[float, float, float]:
    count = room.counts.get(model.name, 0)
    return (count, room.load(), sum(room.counts.values()))
