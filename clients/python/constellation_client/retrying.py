"""Whether a call may be made again, and when: only where the model has not run twice for it."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from constellation_client.connection import Settings
from constellation_client.errors import Busy, ConstellationError, Unavailable

FIRST_S, MOST_S = 0.2, 5.0


class Tries:
    """The tries of one call, within its time."""

    def __init__(self, settings: Settings, options: Mapping[str, Any]) -> None:
        timeout = options.get("timeout", settings.timeout)
        self._until = None if timeout is None else time.monotonic() + timeout
        self._left = settings.retries
        self._wait_s = FIRST_S
        self._is_idempotent = bool(options.get("idempotency_key"))
        self._waits = not options.get("reject_if_busy")

    @property
    def timeout(self) -> float | None:
        """The seconds that are left, None for no bound."""
        return None if self._until is None else max(0.001, self._until - time.monotonic())

    def wait_after(self, error: ConstellationError) -> float:
        """Return how long to wait until the next try; raises the error where there is none."""
        if self._left == 0 or not self._may_try_again(error):
            raise error
        self._left -= 1
        wait_s = error.retry_after or self._wait_s * random.uniform(0.75, 1.0)
        self._wait_s = min(2 * self._wait_s, MOST_S)
        if self._until is not None and time.monotonic() + wait_s >= self._until:
            raise error
        return wait_s

    def _may_try_again(self, error: ConstellationError) -> bool:
        if isinstance(error, Busy):
            return self._waits and error.retry_after is not None
        return isinstance(error, Unavailable) and (self._is_idempotent or not error.was_sent)
