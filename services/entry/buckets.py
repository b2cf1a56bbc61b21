"""An entry's part of one limit: a rate that fills up again, or a budget of the day.

Plain numbers and no timers: what has come back since the last call is reckoned when one comes.
"""

from __future__ import annotations

from typing import Final

MINUTE_S: Final = 60.0
SHARED_S: Final = 2.0  # until an entry that has no share yet has one


class Bucket:
    """A limit per minute, of which a share is this entry's.

    It holds a minute's worth at most. A call that needs more than is there waits; one that needs
    more than there ever is goes when the bucket is full, and leaves it in debt.
    """

    __slots__ = ("asked", "at", "level", "most", "name", "per_minute", "per_s", "share", "told")

    def __init__(self, name: str, per_minute: float, share: float, now: float) -> None:
        self.name = name
        self.per_minute = per_minute
        self.share = share
        self.most = per_minute * share
        self.per_s = self.most / MINUTE_S
        self.level = self.most
        self.at = now
        self.asked = 0.0  # since the last report
        self.told = str(int(per_minute))

    def __repr__(self) -> str:
        return f"<Bucket {self.name} {self.level:.1f}/{self.most:.1f}>"

    def divide(self, per_minute: float, share: float, now: float) -> None:
        """Have another share, or a share of another limit.

        A smaller one takes its part of what is there along, as it may be given out elsewhere.
        """
        self.fill(now)
        before = self.most
        self.per_minute = per_minute
        self.told = str(int(per_minute))
        self.share = share
        self.most = per_minute * share
        self.per_s = self.most / MINUTE_S
        if self.most < before and self.level > 0.0:
            self.level *= self.most / before

    def fill(self, now: float) -> None:
        """Take in what has come back until now."""
        if now > self.at:
            self.level = min(self.most, self.level + (now - self.at) * self.per_s)
            self.at = now

    def take(self, amount: float, now: float) -> bool:
        """Take an amount if it is there."""
        self.asked += amount
        if now > self.at:
            level = self.level + (now - self.at) * self.per_s
            self.level = level if level < self.most else self.most
            self.at = now
        if self.level < amount and (self.level < self.most or self.most <= 0.0):
            return False
        self.level -= amount
        return True

    def give_back(self, amount: float) -> None:
        """Put back what was not used; take more where it is below 0."""
        self.level = min(self.most, self.level + amount)

    def wait_s(self, amount: float) -> float:
        """Return how long it takes until an amount is there, at today's share."""
        if self.per_s <= 0.0:
            return SHARED_S
        return max(0.0, (min(amount, self.most) - self.level) / self.per_s)


class Allowance:
    """A budget of a day, of which a share is this entry's; it begins anew at midnight, UTC."""

    __slots__ = ("asked", "day", "name", "per_day", "share", "used")

    def __init__(self, name: str, per_day: float, share: float, day: int) -> None:
        self.name = name
        self.per_day = per_day
        self.share = share
        self.day = day
        self.used = 0.0
        self.asked = 0.0

    def __repr__(self) -> str:
        return f"<Allowance {self.name} {self.used:.1f}/{self.per_day * self.share:.1f}>"

    def take(self, amount: float, day: int) -> bool:
        """Take an amount, unless all is used up; the last call may take more than is left."""
        if day != self.day:
            self.day, self.used = day, 0.0
        self.asked += amount
        if self.used >= self.per_day * self.share:
            return False
        self.used += amount
        return True

    def give_back(self, amount: float, day: int) -> None:
        """Put back what was not used on that day; take more where it is below 0."""
        if day == self.day:
            self.used = max(0.0, self.used - amount)
