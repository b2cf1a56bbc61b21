"""Damping: up at once, down to the largest requirement of the last while.

    wanted(t) = max of required(s) over t - hold <= s <= t

An instance that goes and is needed again costs a boot, so the hold grows with the boot time:
hold = 1.5 boot, between 60 s and 180 s. Source: reference measurements (180 s at boots of 120 s
and more halves the actions); Kubernetes' stabilization window works alike.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

LEAST_S = 60.0
MOST_S = 180.0


def hold_s(boot_s: float) -> float:
    """Return for how long a requirement counts."""
    return min(max(1.5 * boot_s, LEAST_S), MOST_S)


@dataclass(slots=True)
class Damping:
    """The requirements that may still be the largest, oldest first and largest first."""

    kept: deque[tuple[float, int]] = field(default_factory=deque)

    def largest(self, at: float, required: int, held_s: float) -> int:
        """Take in a requirement; return the largest that still counts."""
        while self.kept and self.kept[-1][1] <= required:
            self.kept.pop()
        self.kept.append((at, required))
        while self.kept[0][0] < at - held_s:
            self.kept.popleft()
        return self.kept[0][1]
