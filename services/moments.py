"""Moments as people type them: a time of day, a date with one, or how long ago."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, time, timedelta
from typing import Final

from services.accounts_cli import seconds

EXAMPLES: Final = "09:30, 2026-11-27T09:30Z, or 10m for ten minutes ago"


def read_moment(text: str) -> int:
    """Return Unix milliseconds; a time of day is of today, or of the day before."""
    now = datetime.now(UTC)
    if re.fullmatch("[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?", text):
        try:
            hour, minute, *second = (int(part) for part in text.split(":"))
            clock = time(hour, minute, sum(second))
        except ValueError:
            raise _no_moment(text) from None
        # Each day's offset is its own: summer time may begin or end between then and now.
        today = now.astimezone().date()
        days = (datetime.combine(today - timedelta(days=ago), clock) for ago in (0, 1))
        return _ms(next(day for day in (each.astimezone() for each in days) if day <= now))
    if past := re.fullmatch("([0-9]+[smhd])( ago)?", text):
        return _ms(now - timedelta(seconds=seconds(past[1])))
    try:
        at = datetime.fromisoformat(text)
        return _ms(at if at.tzinfo else at.astimezone())
    except (ValueError, OverflowError):
        raise _no_moment(text) from None


def _no_moment(text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"expected a time like {EXAMPLES}, got {text!r}")


def _ms(at: datetime) -> int:
    found = int(at.astimezone(UTC).timestamp() * 1000)
    if found < 0:
        raise ValueError("before 1970")
    return found
