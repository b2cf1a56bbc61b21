"""Which hours have a roll-up, and which have events that none has: the tables' word, in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from services.analytics.stores.columns import Columns
from services.analytics.stores.duckdb_words import HOUR_MS, SPAN_MS

DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How long what is kept; 0 days are for ever."""

    events_days: int = 30
    usage_days: int = 400
    # How often it is looked after.
    every_s: float = 60.0

    def events_before(self, now_ms: int) -> int:
        """Return before when events leave: they never outlive the usage that is made of them."""
        return max(_before(self.events_days, now_ms), self.usage_before(now_ms))

    def usage_before(self, now_ms: int) -> int:
        """Return before when usage leaves."""
        return _before(self.usage_days, now_ms)


@dataclass(frozen=True, slots=True)
class Change:
    """What a write means for the hours."""

    touched: set[int]
    opened: set[int]  # they have had no open events until now
    reopened: set[int]  # of those, they had a part


class HourBook:
    """The state of hours; changes as transactions are committed."""

    def __init__(self, *, opened: Iterable[int], rolled: Iterable[int]) -> None:
        self.open = set(opened)
        self.rolled = set(rolled)
        self._making: int | None = None  # its part is being made
        self._busy: set[int] = set()  # touched since the last look

    def __repr__(self) -> str:
        return f"<HourBook open={len(self.open)} rolled={len(self.rolled)}>"

    def change(self, events: Columns) -> Change:
        """Return what these events change.

        An attempt that is not the first turns another hour's request into one of several attempts.
        """
        if not events:
            return Change(set(), set(), set())
        hours = events["timestamp_ms"] // np.uint64(HOUR_MS)
        touched = {int(hour) * HOUR_MS for hour in np.unique(hours)}
        later = {int(hour) * HOUR_MS for hour in np.unique(hours[events["attempt"] > 0])}
        beside = {hour + step for hour in later for step in (-HOUR_MS, HOUR_MS)}
        touched |= beside & (self.rolled | {self._making})
        return Change(touched, touched - self.open, touched & self.rolled)

    def apply(self, change: Change) -> None:
        """Take over what has been committed."""
        self.open |= change.opened
        self.rolled -= change.reopened
        self._busy |= change.touched
        if self._making in change.touched:
            self._making = None

    def due(self, now_ms: int) -> list[int]:
        """Return the hours to roll up: over, and nothing has come for them since the last look.

        Not before an hour more has passed, in which further attempts of their requests may come.
        """
        busy, self._busy = self._busy, set()
        latest = now_ms - HOUR_MS - SPAN_MS
        return sorted(hour for hour in self.open - busy if hour <= latest)

    def make(self, hour: int) -> None:
        """Remember that the part of an hour is being made."""
        self._making = hour

    def is_made(self, hour: int) -> bool:
        """Whether nothing has come for the hour meanwhile, so that its part has all of it."""
        return self._making == hour

    def roll(self, hour: int) -> None:
        """Take over that an hour's part counts."""
        self._making = None
        self.open.discard(hour)
        self.rolled.add(hour)

    def past(self, before_ms: int) -> list[int]:
        """Return the hours with parts that ended before."""
        return sorted(hour for hour in self.rolled if hour + HOUR_MS <= before_ms)


def _before(days: int, now_ms: int) -> int:
    return max(0, now_ms - days * DAY_MS) if days else 0
