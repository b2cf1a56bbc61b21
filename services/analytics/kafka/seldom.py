"""What aiokafka logs while a broker is away, once a minute instead of several times a second.

Its lines say why a broker cannot be reached, which its exceptions do not; so they
are not switched off.
"""

from __future__ import annotations

import logging
import time

AGAIN_S = 60.0
LOGGERS = ("", ".conn", ".producer.sender", ".consumer.fetcher", ".consumer.group_coordinator")


class Seldom(logging.Filter):
    """Lets each kind of line pass once in a while."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log it."""
        now = time.monotonic()
        if now - self._passed.get(record.msg, -AGAIN_S) < AGAIN_S:
            return False
        self._passed[record.msg] = now
        return True


_SELDOM = Seldom()


def log_seldom() -> None:
    """Have it so, however often this is called."""
    for name in LOGGERS:
        logging.getLogger(f"aiokafka{name}").addFilter(_SELDOM)
