"""Deadlines: remaining time on the wire, a fixed moment inside a process.

What came without a bound gets `LONGEST_S`: no wait is without an end.
"""

from __future__ import annotations

from typing import Final

from libs.common.envelope import TimeBounds

LONGEST_S: Final = 24 * 3600.0


class Deadline:
    """The three bounds of a call, as monotonic seconds; the idle gap in seconds."""

    __slots__ = ("first_part", "idle", "total")

    def __init__(self, first_part: float, total: float, idle: float) -> None:
        self.first_part = first_part
        self.total = total
        self.idle = idle

    def __repr__(self) -> str:
        return f"<Deadline first={self.first_part} total={self.total} idle={self.idle}>"

    def until_first(self, now: float) -> float:
        """Seconds left for the first part, never below 0."""
        due = self.first_part if self.first_part < self.total else self.total
        return due - now if due > now else 0.0

    def until_next(self, now: float) -> float:
        """Seconds left for the next part of a stream that has begun, never below 0."""
        return max(0.0, min(now + self.idle, self.total) - now)

    def remaining(self, now: float) -> TimeBounds:
        """What is left, to send on; an expired bound is sent as 1 ms, since 0 means none."""
        return TimeBounds(
            first_part_ms=_ms(self.first_part - now),
            idle_ms=_ms(self.idle),
            total_ms=_ms(self.total - now),
        )


def fix(bounds: TimeBounds, now: float) -> Deadline:
    """Fix what came as remaining time to this machine's clock."""
    return Deadline(
        now + (bounds.first_part_ms / 1000 or LONGEST_S),
        now + (bounds.total_ms / 1000 or LONGEST_S),
        bounds.idle_ms / 1000 or LONGEST_S,
    )


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
