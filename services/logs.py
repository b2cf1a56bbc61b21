"""Logs: one line each on standard error, without prompts, tokens or keys."""

from __future__ import annotations

import logging
import sys

LEVELS = ("debug", "info", "warning", "error", "critical")
FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def set_up(level: str) -> None:
    """Log from `level` on."""
    logging.basicConfig(level=level.upper(), format=FORMAT, stream=sys.stderr)
    logging.getLogger("hpack").setLevel(logging.WARNING)  # it tells of every byte
