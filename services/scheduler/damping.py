"""Up at once, down late: a lower requirement counts after it has held for a while."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.scheduler.usage import Key


@dataclass(slots=True)
class _Lower:
    """Since when the requirement has been lower, and the most it was since."""

    since: float
    most: int


@dataclass(slots=True, kw_only=True)
class Damping:
    """Remembers for each key how long its requirement has been lower than what there is."""

    down_after_s: float
    _lower: dict[Key, _Lower] = field(default_factory=dict)

    def desired(self, key: Key, required: int, *, current: int, at: float) -> tuple[int, str]:
        """Return how many instances there should be, and why not as required, if not."""
        if required >= current:
            self._lower.pop(key, None)
            return required, ""
        lower = self._lower.setdefault(key, _Lower(at, required))
        lower.most = max(lower.most, required)
        held_s = at - lower.since
        if held_s < self.down_after_s:
            return current, f"lower for {held_s:.0f} of {self.down_after_s:.0f} s"
        # what is needed now may have been lower for a shorter time: that wait begins anew
        self._lower.pop(key)
        return lower.most, ""

    def forget(self, keys: set[Key]) -> None:
        """Drop all keys but these."""
        for key in self._lower.keys() - keys:
            del self._lower[key]
