"""How often each of many keys may do something, in one number per key."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

NOW_S: Final = 1e-6  # a shorter wait is none: sums of floats are not exact


class Pace:
    """So many per second of each key, and `burst` of them at once.

    Of each key it keeps when all that it took will have come back. Keys beyond `most` push out
    those that were heard of longest ago: memory is bounded, whoever asks.
    """

    def __init__(self, *, per_s: float, burst: float, most: int) -> None:
        self._step_s = 1.0 / per_s
        self._burst_s = burst / per_s
        self._most = most
        self._back: OrderedDict[str, float] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Pace {len(self._back)} of at most {self._most} keys>"

    def __len__(self) -> int:
        return len(self._back)

    def wait_s(self, key: str, now: float) -> float:
        """Return how long the key has to wait for its next one, 0 if it need not."""
        wait = self._back.get(key, 0.0) + self._step_s - self._burst_s - now
        return wait if wait > NOW_S else 0.0

    def take(self, key: str, now: float) -> None:
        """Count one more of the key."""
        self._back[key] = max(self._back.get(key, now), now) + self._step_s
        self._back.move_to_end(key)
        if len(self._back) > self._most:
            self._back.popitem(last=False)
