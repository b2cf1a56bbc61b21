"""What an instance did with its time: booting, idle, or active at some concurrency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from libs.common.world_map import InstanceState

Doing = Literal["boot", "idle", "active", ""]  # nothing: it has failed, and is not there


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Seconds in each state over an interval, and the mean concurrency over it."""

    seconds: float
    boot_s: float = 0.0
    idle_s: float = 0.0
    active_s: float = 0.0
    mean_concurrency: float = 0.0

    @property
    def utilization(self) -> float:
        """Return the share of the interval in which it was active."""
        return self.active_s / self.seconds if self.seconds > 0 else 0.0

    @property
    def was_there(self) -> bool:
        """Whether there was an instance at all."""
        return self.boot_s + self.idle_s + self.active_s > 0


class Activity:
    """Adds up one instance's time; what was seen last holds until something else is seen."""

    def __init__(self, at: float) -> None:
        self._since = self._at = at
        self._doing: Doing = ""
        self._level = 0
        self._seconds: dict[Doing, float] = {}
        self._level_seconds = 0.0

    def __repr__(self) -> str:
        return f"<Activity {self._doing or 'none'} level={self._level}>"

    def saw(self, state: InstanceState, level: int, *, at: float) -> Self:
        """Take in that it is in this state, with so many calls in flight."""
        self._pass(at)
        self._doing = _doing(state, level)
        self._level = level if self._doing == "active" else 0
        return self

    def take(self, at: float) -> Interval:
        """Return the interval that ends now; the next one begins."""
        self._pass(at)
        length = at - self._since
        interval = Interval(
            seconds=length,
            boot_s=self._seconds.get("boot", 0.0),
            idle_s=self._seconds.get("idle", 0.0),
            active_s=self._seconds.get("active", 0.0),
            mean_concurrency=self._level_seconds / length if length > 0 else 0.0,
        )
        self._since, self._seconds, self._level_seconds = at, {}, 0.0
        return interval

    def _pass(self, at: float) -> None:
        passed = max(0.0, at - self._at)
        self._seconds[self._doing] = self._seconds.get(self._doing, 0.0) + passed
        self._level_seconds += self._level * passed
        self._at = max(at, self._at)


def _doing(state: InstanceState, level: int) -> Doing:
    if state == "failed":
        return ""
    if state == "booting":
        return "boot"
    return "active" if level > 0 else "idle"
