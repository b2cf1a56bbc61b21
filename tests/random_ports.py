"""Ports for servers that are stopped and started again: nobody must have theirs meanwhile."""

from __future__ import annotations

import random
import socket


def random_port() -> int:
    """Return a port that nobody is given meanwhile, as it is below those that the system gives."""
    while True:
        number = random.randrange(10_000, 16_000)
        with socket.socket() as trying:
            try:
                trying.bind(("127.0.0.1", number))
            except OSError:
                continue
        return number
