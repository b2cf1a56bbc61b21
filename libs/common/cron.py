"""Times of cron's five fields: minute, hour, day of the month, month, day of the week.

As POSIX has them, with steps and names: where days of both kinds are restricted, either
suffices. All of it is wall-clock time; what that is in UTC is for the caller to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MONTHS: Final = (
    *("jan", "feb", "mar", "apr", "may", "jun"),
    *("jul", "aug", "sep", "oct", "nov", "dec"),
)
WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five: what its numbers may be, and names for them."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()


FIELDS: Final = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of the month", 1, 31),
    Field("month", 1, 12, MONTHS),
    Field("day of the week", 0, 7, WEEKDAYS),  # Sunday is 0 and 7
)


@dataclass(frozen=True, slots=True)
class Cron:
    """The numbers that each field lets through."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    either: bool  # both kinds of days are restricted: one suffices

    def last(self, at: datetime, *, days: int) -> datetime | None:
        """Return the latest time up to `at`, no more than `days` before its day."""
        for back in range(days + 1):
            day = at - timedelta(days=back)
            if not self._is_on(day):
                continue
            for hour in reversed(self.hours):
                for minute in reversed(self.minutes):
                    found = day.replace(hour=hour, minute=minute, second=0, microsecond=0)
                    if found <= at:
                        return found
        return None

    def _is_on(self, day: datetime) -> bool:
        in_month = day.day in self.days
        in_week = day.isoweekday() % 7 in self.weekdays
        is_day = in_month or in_week if self.either else in_month and in_week
        return is_day and day.month in self.months


def read_cron(text: str) -> Cron:
    """Read five fields; ValueError says which does not stand, and what would."""
    parts = text.split()
    if len(parts) != len(FIELDS):
        names = ", ".join(field.name for field in FIELDS)
        raise ValueError(f"expected five fields ({names}), got {len(parts)} in {text!r}")
    read = [_numbers(part, field) for part, field in zip(parts, FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = read
    return Cron(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=tuple(sorted({number % 7 for number in weekdays})),
        either=not (parts[2].startswith("*") or parts[4].startswith("*")),
    )


def read_zone(name: str) -> tzinfo:
    """Return a time zone by IANA's name; ValueError for one that is not known here."""
    if name == "UTC":
        return UTC  # known everywhere
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"expected a name like Europe/Berlin, got {name!r}") from None


def _numbers(text: str, field: Field) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        by = _number(step, Field(f"step of the {field.name}", 1, field.most)) if slash else 1
        low, high = _span(span, field, is_open=bool(slash))
        found.update(range(low, high + 1, by))
    return tuple(sorted(found))


def _span(text: str, field: Field, *, is_open: bool) -> tuple[int, int]:
    """Return the ends of `*`, `3`, `1-5` or, before a step, of `3` and all after it."""
    if text == "*":
        return field.least, field.most
    first, dash, last = text.partition("-")
    low = _number(first, field)
    if not dash:
        return low, field.most if is_open else low
    high = _number(last, field)
    if high < low:
        raise ValueError(f"{field.name}: {text!r} ends before it begins")
    return low, high


def _number(text: str, field: Field) -> int:
    if text.lower() in field.names:
        return field.names.index(text.lower()) + field.least
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else -1
    if not field.least <= number <= field.most:
        names = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise ValueError(
            f"{field.name}: expected *, or {field.least} to {field.most}{names}, got {text!r}"
        )
    return number
