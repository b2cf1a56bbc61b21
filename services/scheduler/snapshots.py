"""The last moments of each model in each region: who waited, and how many instances served."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from libs.common.explanation import ScaleSnapshot
from services.scheduler.usage import Key, Usage

MOST = 120


@dataclass(slots=True)
class Snapshots:
    """The last `MOST` of each key; those of keys that are gone go, too."""

    _taken: dict[Key, deque[ScaleSnapshot]] = field(default_factory=dict)

    def take(self, usage: Mapping[Key, Usage], *, at_ms: int) -> None:
        """Take one of each key."""
        for key in self._taken.keys() - usage.keys():
            del self._taken[key]
        for key, each in usage.items():
            self._taken.setdefault(key, deque(maxlen=MOST)).append(
                ScaleSnapshot(
                    model=key.model,
                    region=key.region,
                    at_ms=at_ms,
                    queue_length=each.queued,
                    replica_count=each.running,
                )
            )

    def of(self, model: str, region: str = "") -> Iterable[ScaleSnapshot]:
        """Return those of a model, in one region or in all, the oldest first."""
        for key, taken in self._taken.items():
            if key.model == model and region in ("", key.region):
                yield from taken
