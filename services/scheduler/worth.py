"""What one more or one fewer instance is worth, where not everything fits.

Three things are compared, one after the other: whether the instance is among those that are
promised (the minimum), the model's priority, and its worth by itself, in requests that it keeps
from being late. Without such a figure it is the share of what is wanted that it stands for, so
that models of one priority lack the same share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from libs.common.catalog import Model
from services.scheduler.usage import Key

# Who takes another's place is worth so many times as much: a drain and a boot are paid for it.
SWITCH: Final = 1.25


class Rank(NamedTuple):
    """How much an instance matters; the larger comes first."""

    promised: bool
    priority: int
    worth: float

    @property
    def level(self) -> tuple[bool, int]:
        """What no sum of worths outweighs."""
        return self.promised, self.priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """So many instances of a model in a region, the first `least` of them promised."""

    model: Model
    region: str
    instances: int
    least: int = 0
    worth: Sequence[float] = ()  # of the first, the second, ...; none: the share of what is wanted
    spared: Sequence[float] = ()  # late requests a minute, by 0, 1, ... instances

    @property
    def key(self) -> Key:
        """What is decided about."""
        return Key(self.model.name, self.region)

    def rank(self, number: int) -> Rank:
        """Return how much the instance matters that is the `number`-th."""
        if self.worth:
            worth = self.worth[min(number, len(self.worth)) - 1]
        else:
            worth = (self.instances - number + 1) / max(self.instances, 1)
        return Rank(number <= self.least, self.model.priority, worth)


def outweighs(gain: Rank, losses: Iterable[Rank]) -> bool:
    """Whether an instance is worth more than all those together that would give way to it."""
    ranks = list(losses)
    alike = sum(each.worth for each in ranks if each.level == gain.level)
    return all(each.level <= gain.level for each in ranks) and (
        not any(each.level == gain.level for each in ranks) or gain.worth > alike * SWITCH
    )


def cost(losses: Iterable[Rank]) -> tuple[tuple[bool, int], float, int]:
    """Order sets of instances by what it costs to lose them, the cheapest first."""
    ranks = list(losses)
    level = max((each.level for each in ranks), default=(False, -1))
    return level, sum(each.worth for each in ranks if each.level == level), len(ranks)
