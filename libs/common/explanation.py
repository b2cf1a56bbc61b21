"""Why a model has as many instances as it has: what is asked, and what is answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from libs.common.world_map import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Decisions about a model that were made by a time (0: by now), in one region or in all."""

    model: str
    region: str = ""  # empty: every region
    at_ms: int = 0
    count: int = 1  # at most so many per region


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleSnapshot:
    """How a model stood in a region at a moment."""

    model: str
    region: str
    at_ms: int
    queue_length: int
    replica_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The newest decision of each region first; snapshots with the oldest first."""

    decisions: tuple[Decision, ...] = ()
    snapshots: tuple[ScaleSnapshot, ...] = ()


def explained(decisions: Iterable[Decision], question: Question) -> Explanation:
    """Return what the last decisions alone say."""
    asked = (
        each
        for each in decisions
        if each.model == question.model and question.region in ("", each.region)
    )
    return Explanation(decisions=tuple(asked))
