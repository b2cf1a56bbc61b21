"""A queue-driven autoscaler, as Replicate's is: up at once for what waits, down after a while.

    up:    max(n + ceil(q / c), ceil(x / c) + h)
    down:  ceil(largest x of the window / c) + h

q queued, x in flight and queued, c permits per instance, n ready, h spare instances; asked
every second. Up while that is more than there is; else down to the second where that is less.

Source: the behaviour that replicate.com documents for deployments (instances are added as
predictions queue, and removed after an idle time); its numbers are not published: the first
configuration has one spare instance and five minutes.
"""

from __future__ import annotations

import math

from services.scheduler.simulate.peers.grid import grid
from services.scheduler.simulate.peers.windows import SlidingMax
from services.scheduler.simulate.policy import Family, Observation, Terms


class Queue:
    """An autoscaler that adds what the queue needs."""

    every_s = 1.0

    def __init__(self, _: Terms, *, spare: float, window_s: float) -> None:
        self._spare = int(spare)
        self._largest = SlidingMax(window_s)

    def __repr__(self) -> str:
        return f"<Queue with {self._spare} spare>"

    def wanted(self, seen: Observation) -> int:
        """Return how many instances there should be."""
        current = seen.ready + seen.booting
        largest = self._largest.add(max(seen.max_demand, seen.demand), seen.t)
        up = max(
            seen.ready + math.ceil(seen.queued / seen.permits),
            math.ceil(seen.demand / seen.permits) + self._spare,
        )
        down = math.ceil(largest / seen.permits) + self._spare
        return up if up > current else min(current, down)


FAMILY = Family(
    name="queue",
    make=Queue,
    configurations=grid(
        {"spare": 1.0, "window_s": 300.0},
        spare=(0.0, 1.0, 2.0, 4.0),
        window_s=(300.0, 900.0, 1800.0),
    ),
)
