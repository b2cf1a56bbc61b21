"""A token bucket: what may be done in a burst, and how often in the long run."""

from __future__ import annotations


class Budget:
    """Takes that are allowed: `burst` at once, and `per_s` more of them each second."""

    def __init__(self, *, burst: int, per_s: float) -> None:
        self._burst = float(burst)
        self._per_s = per_s
        self._left = self._burst
        self._at = 0.0

    def __repr__(self) -> str:
        return f"<Budget left={self._left:.1f}/{self._burst:g}>"

    def take(self, now: float) -> bool:
        """Take one if there is one; `now` is in monotonic seconds."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._per_s)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
