"""Moments as people type them: a time of day, a date with one, or how long ago."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta

from services.accounts_cli import seconds


def read_moment(text: str) -> int:
    """Return Unix milliseconds; a time of day is of today, or of the day before."""
    now = datetime.now().astimezone()
    if re.fullmatch("[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?", text):
        try:
            hour, minute, *second = (int(part) for part in text.split(":"))
            at = now.replace(hour=hour, minute=minute, second=sum(second), microsecond=0)
        except ValueError:
            raise _no_moment(text) from None
        return _ms(at if at <= now else at - timedelta(days=1))
    if re.fullmatch("[0-9]+[smhd]", text):
        return _ms(now - timedelta(seconds=seconds(text)))
    try:
        at = datetime.fromisoformat(text)
        return _ms(at if at.tzinfo else at.astimezone())
    except (ValueError, OverflowError):
        raise _no_moment(text) from None


def _no_moment(text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(
        f"expected a time like 09:30, 2026-11-27T09:30Z or 10m (ago), got {text!r}"
    )


def _ms(at: datetime) -> int:
    found = int(at.astimezone(UTC).timestamp() * 1000)
    if found < 0:
        raise ValueError("before 1970")
    return found
