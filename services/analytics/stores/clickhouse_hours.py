"""Which hours of a question are answered by the roll-up, and which by the events themselves.

Plain decisions on numbers. A request belongs to the hour in which its first
attempt arrived, and its attempts are at most `SPAN_MS` apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
END_MS = 2**64 - 1

# How far apart the attempts of one request may be.
SPAN_MS = HOUR_MS
# Longer than any insert takes, from when its rows are stamped until they can be read.
SETTLED_MS = 10 * 60_000

Range: TypeAlias = tuple[int, int]  # from, until before


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledUp:
    """How far the roll-up is, in Unix milliseconds."""

    # Hours that begin before this are rolled up,
    through_ms: int = 0
    # but not these: something of them was stored since.
    stale: frozenset[int] = frozenset()
    # Hours that begin before this have lost events, so only the roll-up knows them.
    kept_from_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where an answer comes from: ranges that together are those of the question."""

    rolled: tuple[Range, ...]  # of hours' beginnings
    raw: tuple[Range, ...]


def floor_hour(ms: int) -> int:
    """Return the beginning of the hour."""
    return ms - ms % HOUR_MS


def ceil_hour(ms: int) -> int:
    """Return the beginning of the first hour that begins no earlier."""
    return floor_hour(ms + HOUR_MS - 1)


def closed_through(now_ms: int) -> int:
    """Return until where hours can be rolled up: nothing of them is still to be expected."""
    return max(0, floor_hour(now_ms - SPAN_MS - 2 * SETTLED_MS))


def kept_from(now_ms: int, *, retention_days: int) -> int:
    """Return the first hour of which all events are kept; 0 where they are for ever."""
    if not retention_days:
        return 0
    return max(0, ceil_hour(now_ms - retention_days * DAY_MS) + SPAN_MS)


def affected(hours: Iterable[int]) -> frozenset[int]:
    """Return the hours whose requests may have an attempt in one of these."""
    each = frozenset(hours)
    before = frozenset(hour - HOUR_MS for hour in each if hour)
    return each | before | frozenset(hour + HOUR_MS for hour in each)


def sources(from_ms: int, to_ms: int, *, rolled_up: RolledUp) -> Sources:
    """Divide the question: whole hours from the roll-up, where it is fresh; else the events.

    An hour of which not all events are kept is taken as a whole, if it begins within the range.
    """
    to_ms = to_ms or END_MS
    lost_ms = min(rolled_up.kept_from_ms, rolled_up.through_ms)
    rolled: list[Range] = []
    if ceil_hour(from_ms) < min(to_ms, lost_ms):
        rolled.append((ceil_hour(from_ms), min(to_ms, lost_ms)))
    begin = max(from_ms, lost_ms)
    whole = (ceil_hour(begin), min(floor_hour(to_ms), rolled_up.through_ms))
    rolled += _without(whole, sorted(rolled_up.stale))
    return Sources(rolled=_joined(rolled), raw=_between(begin, to_ms, rolled))


def _without(whole: Range, hours: list[int]) -> list[Range]:
    """Return the range without these hours."""
    at, until = whole
    found: list[Range] = []
    for hour in hours:
        if at <= hour < until:
            found.append((at, hour))
            at = hour + HOUR_MS
    found.append((at, until))
    return [each for each in found if each[0] < each[1]]


def _joined(ranges: list[Range]) -> tuple[Range, ...]:
    joined: list[Range] = []
    for begin, end in ranges:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return tuple(joined)


def _between(begin: int, end: int, taken: list[Range]) -> tuple[Range, ...]:
    """Return what of a range is not taken."""
    found: list[Range] = []
    for first, last in taken:
        if begin < first:
            found.append((begin, first))
        begin = max(begin, last)
    if begin < end:
        found.append((begin, end))
    return tuple(found)
