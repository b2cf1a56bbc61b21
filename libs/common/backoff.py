"""Exponential backoff: how long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Doubles from `first_s` to `most_s`, each wait drawn from its upper half."""

    first_s: float = 0.2
    most_s: float = 5.0
    rng: random.Random = field(default_factory=random.Random)

    def __iter__(self) -> Iterator[float]:
        """Yield waits in seconds, without end."""
        wait = self.first_s
        while True:
            yield wait * self.rng.uniform(0.5, 1.0)
            wait = min(wait * 2, self.most_s)
