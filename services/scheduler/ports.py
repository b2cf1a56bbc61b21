"""What the scheduler needs: a fleet to act on, and a place for what must outlive it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from libs.common.explanation import Question
from libs.common.world_map import Decision
from services.scheduler.placement import FleetState
from services.scheduler.plan import Plan
from services.scheduler.usage import Key


class Fleet(Protocol):
    """Where instances run."""

    def state(self) -> FleetState:
        """Return the nodes, and what each of them should run as of now."""
        ...

    async def apply(self, plan: Plan) -> None:
        """Make the plan the fleet's aim; raises RequestError when that failed in part."""
        ...


class Kept(NamedTuple):
    """What is kept of a model in a region: its series, and how long its boots took (0: unseen)."""

    series: bytes
    boot_s: float


class History(Protocol):
    """Keeps series over a restart; raises Unavailable."""

    async def load(self) -> Mapping[Key, Kept]:
        """Return all that is kept."""
        ...

    async def save(self, kept: Mapping[Key, Kept]) -> None:
        """Replace what is kept of these keys."""
        ...


class DecisionLog(Protocol):
    """Keeps decisions for a while; raises Unavailable."""

    async def add(self, decisions: Sequence[Decision]) -> None:
        """Keep some more; the oldest go."""
        ...

    async def find(self, question: Question) -> tuple[Decision, ...]:
        """Return decisions, of each region the newest first."""
        ...
