"""How fast permits come free while calls wait for them: a mean in which the past fades.

Only the time in which somebody waits counts: before that the rate says what was asked for,
not what can be served.
"""

from __future__ import annotations

import math
from typing import Final

FADES_S: Final = 5.0  # after so long the past counts for a third
ENOUGH_S: Final = 0.2  # measured for less than that, it says nothing


class ServedRate:
    """Permits per second: what was given back over the time that it took, both fading alike."""

    __slots__ = ("_at", "_permits", "_seconds")

    def __init__(self) -> None:
        self._at = 0.0
        self._permits = 0.0
        self._seconds = 0.0

    def __repr__(self) -> str:
        return f"<ServedRate {self.per_s():.1f}/s over {self._seconds:.1f} s>"

    def begin(self, now: float) -> None:
        """Somebody waits from now on; the time since the last one did is left out."""
        self._at = now

    def came_free(self, permits: int, now: float) -> None:
        """Permits came free while somebody waited."""
        passed = max(0.0, now - self._at)
        fading = math.exp(-passed / FADES_S)
        self._at = now
        self._permits = self._permits * fading + permits
        self._seconds = self._seconds * fading + FADES_S * (1 - fading)

    def per_s(self) -> float:
        """Return permits per second, 0 where too little was measured."""
        return self._permits / self._seconds if self._seconds >= ENOUGH_S else 0.0
