"""What the demand was: one mean per tick for each model and region, as far back as is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.scheduler.usage import Key, Usage


class Sample(NamedTuple):
    """Mean demand over the tick that ended at `at`, in monotonic seconds."""

    at: float
    demand: float


@dataclass(slots=True)
class _Series:
    samples: deque[Sample]
    total: float = 0.0
    seen: int = 0


@dataclass(slots=True)
class History:
    """`length` samples for each key; keys that are not measured any more are forgotten."""

    length: int = 24 * 60
    _series: dict[Key, _Series] = field(default_factory=dict)

    def measure(self, usage: Mapping[Key, Usage]) -> None:
        """Take in one look at the demand; the tick's sample is the mean of all of them."""
        for key in self._series.keys() - usage.keys():
            del self._series[key]
        for key, each in usage.items():
            series = self._series.setdefault(key, _Series(deque(maxlen=self.length)))
            series.total += each.demand
            series.seen += 1

    def record(self, at: float) -> None:
        """End the tick."""
        for series in self._series.values():
            if series.seen:
                series.samples.append(Sample(at, series.total / series.seen))
                series.total, series.seen = 0.0, 0

    def of(self, key: Key) -> Sequence[Sample]:
        """Return the samples of a key, oldest first."""
        series = self._series.get(key)
        return series.samples if series else ()
