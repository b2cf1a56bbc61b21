"""The retry budget of a shard: how many calls may be tried again, of those that come.

Retries must not become the load that keeps endpoints from coming back, so they are a share of
the calls, and a few per second where there are hardly any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KEPT_S: Final = 10.0  # how long calls and seconds count


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLimits:
    """What a budget is made of; the server's settings."""

    share: float = 0.2
    per_s: float = 3.0


class RetryBudget:
    """A bucket that fills with calls and with time; each retry takes one out.

    It is reckoned when somebody asks, from how many calls came since: a call costs nothing.
    """

    def __init__(self) -> None:
        self._left = 0.0
        self._calls = 0
        self._at = 0.0
        self._is_new = True

    def __repr__(self) -> str:
        return f"<RetryBudget {self._left:.1f}>"

    def take(self, limits: RetryLimits, *, calls: int, now: float) -> bool:
        """Say whether one more call may be tried again; `calls` have come until now."""
        passed, came = now - self._at, calls - self._calls
        # What came more than KEPT_S ago is forgotten: of a long time, so much of it counts.
        part = 1.0 if self._is_new or passed <= KEPT_S else KEPT_S / passed
        earned = limits.share * came * part
        earned += limits.per_s * (KEPT_S if self._is_new else min(passed, KEPT_S))
        kept = 0.0 if passed >= KEPT_S else self._left * (1 - passed / KEPT_S)
        self._left = earned + kept
        self._at, self._calls, self._is_new = now, calls, False
        if self._left < 1:
            return False
        self._left -= 1
        return True
