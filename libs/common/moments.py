"""Moments as people and programs write them: RFC 3339, or milliseconds since 1970."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Final

LATEST_MS: Final = 253_402_300_800_000  # the year 10000, which RFC 3339 has no digits for


def read_moment(text: str) -> int:
    """Return Unix milliseconds; a date alone is its beginning in UTC. Raises ValueError."""
    if text.isascii() and text.isdigit():
        found = int(text[:20])
    elif len(text) == len("2026-11-28"):
        found = _unix_ms(datetime.combine(date.fromisoformat(text), time(), UTC))
    else:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no offset from UTC")
        found = _unix_ms(moment)
    if not 0 <= found < LATEST_MS:
        raise ValueError("before 1970, or after 9999")
    return found


def rfc3339(unix_ms: int) -> str:
    """Write a moment in UTC; in digits alone, where RFC 3339 has none for it."""
    if not 0 <= unix_ms < LATEST_MS:
        return str(unix_ms)
    moment = datetime.fromtimestamp(unix_ms // 1000, UTC).replace(microsecond=unix_ms % 1000 * 1000)
    precision = "milliseconds" if unix_ms % 1000 else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _unix_ms(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
