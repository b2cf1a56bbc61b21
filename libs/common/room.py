"""What fits on a node: CPUs, memory and GPUs, beside what runs there.

The scheduler asks before it assigns, the node before it starts. CPUs and memory
that a node does not report (0) are taken for enough; a GPU is there or not. A model
that needs whole GPUs has them to itself, one that needs none but GPU memory takes
a part of one GPU: those are packed by first-fit decreasing, so that the same
instances fit or do not, in whichever order they came.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from libs.common.catalog import Resources
from libs.common.world_map import Node


class Room:
    """A node, and what instances of it are taken by."""

    __slots__ = ("_shares", "cpus", "gpus", "memory_mb", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.cpus = 0.0
        self.memory_mb = 0
        self.gpus = 0  # that are taken whole
        self._shares: list[int] = []  # parts of GPUs, in MB, the largest first

    def __repr__(self) -> str:
        gpus = f" gpus={self.gpus}+{len(self._shares)} parts/{self.node.gpus}" * bool(
            self.node.gpus
        )
        return f"<Room {self.node.name} cpus={self.cpus:g}/{self.node.cpus:g}{gpus}>"

    def take(self, need: Resources, count: int = 1) -> None:
        """Take what so many instances need, whether it fits or not."""
        self._change(need, count)
        if _is_share(need):
            self._shares = sorted([*self._shares, *[need.gpu_memory_mb] * count], reverse=True)

    def give_back(self, need: Resources, count: int = 1) -> None:
        """Give back what so many instances took."""
        self._change(need, -count)
        if _is_share(need):
            for _ in range(count):
                self._shares.remove(need.gpu_memory_mb)

    def lacks(self, need: Resources) -> tuple[str, ...]:
        """Return what there is too little of for one more instance; nothing: it fits."""
        return tuple(name for name, fits in self._fits(need) if not fits)

    @property
    def used_gpus(self) -> int:
        """GPUs that are taken, whole or in part."""
        return self.gpus + self._touched(self._shares)

    def fullness(self) -> float:
        """Return how full the node is: the share taken of what is most scarce."""
        node = self.node
        shared = sum(self._shares) / node.gpu_memory_mb if node.gpu_memory_mb else 0.0
        parts = (
            (self.cpus, node.cpus),
            (self.memory_mb, node.memory_mb),
            (self.gpus + shared, node.gpus),
        )
        return max(used / total if total else 0.0 for used, total in parts)

    def opens(self, need: Resources) -> int:
        """Return how many GPUs that are untouched now one more instance would touch."""
        if not _is_share(need):
            return need.gpus
        after = sorted([*self._shares, need.gpu_memory_mb], reverse=True)
        return self._touched(after) - self._touched(self._shares)

    def _change(self, need: Resources, count: int) -> None:
        self.cpus += need.cpus * count
        self.memory_mb += need.memory_mb * count
        self.gpus += need.gpus * count

    def _fits(self, need: Resources) -> Iterator[tuple[str, bool]]:
        # a hair more, so that ten times 0.1 of a CPU is one CPU
        yield "CPUs", self.cpus + need.cpus <= (self.node.cpus or math.inf) + 1e-9
        yield "memory", self.memory_mb + need.memory_mb <= (self.node.memory_mb or math.inf)
        is_share = _is_share(need)
        if need.gpus or is_share:
            parts = sorted([*self._shares, need.gpu_memory_mb], reverse=True)
            parts = parts if is_share else self._shares
            enough = self.gpus + need.gpus + self._touched(parts) <= self.node.gpus
            yield "GPUs", self.node.gpus > 0 and (enough or is_share)
            fits = need.gpu_memory_mb <= self.node.gpu_memory_mb
            yield "GPU memory", fits and (enough or not is_share)

    def _touched(self, shares: Iterable[int]) -> int:
        """Return how many GPUs these parts take, the largest placed first."""
        free: list[int] = []
        for share in shares:
            place = next((at for at, left in enumerate(free) if left >= share), None)
            if place is None:
                free.append(self.node.gpu_memory_mb - share)
            else:
                free[place] -= share
        return len(free)


def _is_share(need: Resources) -> bool:
    """Whether an instance takes a part of a GPU."""
    return need.gpus == 0 and need.gpu_memory_mb > 0
