"""What may be removed from a schedule of instances, and in which order.

A block is an instance from when it is added until it is taken away: the k-th, while there are at
least k. Removing it saves its time and its boot, and makes late those who arrive while the demand
is more than the k - 1 others can take. Blocks above it go first: what is left is a schedule again.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.scheduler.simulate.load import Load
from services.scheduler.simulate.policy import Terms


class Block(NamedTuple):
    """The `level`-th instance from `start` until before `end`."""

    late: float  # for each second that it saves: what is removed first comes first
    level: int
    start: int
    end: int


def blocks_of(load: Load, ready: NDArray[np.int64], *, terms: Terms, since: int) -> Iterator[Block]:
    """Return the blocks of a schedule above the minimum, but those that end before `since`."""
    used = load.used()
    for level in range(terms.minimum + 1, int(ready[since:].max()) + 1):
        there = np.concatenate(([0], ready >= level, [0])).astype(np.int8)
        edges = np.flatnonzero(np.diff(there))
        needed = used > (level - 1) * terms.permits
        late = np.concatenate(([0], np.cumsum(load.arrivals * needed)))
        for start, end in edges.reshape(-1, 2).tolist():
            if end > since:
                saved = end - start + terms.boot_s
                yield Block(float(late[end] - late[start]) / saved, level, start, end)


def in_order(blocks: Iterator[Block]) -> list[Block]:
    """Return them as they may be removed, those first that make few late for what they save."""
    levels: dict[int, list[Block]] = {}
    for block in blocks:
        levels.setdefault(block.level, []).append(block)
    below = {block: _below(block, levels) for each in levels.values() for block in each}
    above = dict.fromkeys(below, 0)
    for under in below.values():
        if under:
            above[under] += 1
    heap = [block for block, count in above.items() if not count]
    heapq.heapify(heap)
    order = []
    while heap:
        block = heapq.heappop(heap)
        order.append(block)
        if under := below[block]:
            above[under] -= 1
            if not above[under]:
                heapq.heappush(heap, under)
    return order


def _below(block: Block, levels: dict[int, list[Block]]) -> Block | None:
    """Return the block of the next lower level on which this one stands."""
    starts = levels.get(block.level - 1, [])
    place = bisect_right(starts, block.start, key=lambda each: each.start)
    return starts[place - 1] if starts else None


def without(ready: NDArray[np.int64], blocks: Sequence[Block]) -> NDArray[np.int64]:
    """Return a schedule without some of its blocks."""
    change = np.zeros(len(ready) + 1, np.int64)
    np.add.at(change, [block.start for block in blocks], -1)
    np.add.at(change, [block.end for block in blocks], 1)
    return ready + np.cumsum(change[:-1])
