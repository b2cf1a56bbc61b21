"""Answers why a model has as many instances as it has: what was decided, and how things stood."""

from __future__ import annotations

from libs.common.explanation import Explanation, Question
from services.scheduler.ports import DecisionLog
from services.scheduler.snapshots import Snapshots


class Explaining:
    """Reads the log of decisions, and the snapshots of the scheduler of this process."""

    def __init__(self, *, log: DecisionLog, snapshots: Snapshots) -> None:
        self._log = log
        self._snapshots = snapshots

    async def explain(self, question: Question) -> Explanation:
        """Return what was decided and seen by the time asked for; raises Unavailable."""
        decisions = await self._log.find(question)
        taken = (
            each
            for each in self._snapshots.of(question.model, question.region)
            if not question.at_ms or each.at_ms <= question.at_ms
        )
        return Explanation(decisions=decisions, snapshots=tuple(taken))
