"""What the catalog says of accounts: their weights, and the bounds of what they may hold.

*Weight* is an account's share of what is served, and of the queue, while others want theirs.
*Guaranteed* permits are kept for their account: nobody else gets one of those that it does not
use, and while it uses fewer it goes before everyone. What it is served so is not counted
against its share. *Maximum* is the most that it ever holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from libs.common.catalog import AccountShare


class Standing:
    """One account's, with the permits that it holds now."""

    __slots__ = ("guaranteed", "in_use", "maximum", "weight")

    def __init__(self) -> None:
        self.weight = 1.0
        self.guaranteed = 0
        self.maximum = 0  # 0: no bound
        self.in_use = 0

    def __repr__(self) -> str:
        held = f"{self.in_use} in {self.guaranteed}..{self.maximum or 'all'}"
        return f"<Standing weight={self.weight:g} holds {held}>"

    def is_owed(self, cost: int) -> bool:
        """Whether so many permits more are within its guarantee."""
        return self.in_use + cost <= self.guaranteed

    def may_hold(self, cost: int) -> bool:
        """Whether so many permits more are within its maximum."""
        return not self.maximum or self.in_use + cost <= self.maximum


class Standings:
    """Those of a model's accounts; an account that the catalog does not name has none."""

    def __init__(self) -> None:
        self.named: dict[str, Standing] = {}
        self._unnamed: dict[str, Standing] = {}  # no longer, though they still hold permits
        self.guarantees = False  # whether there are any

    def __repr__(self) -> str:
        return f"<Standings {self.named}>"

    def configure(self, accounts: Mapping[str, AccountShare]) -> None:
        """Take over what the catalog says; what is in use stays counted."""
        known = {**self._unnamed, **self.named}
        self.named = {name: known.get(name) or Standing() for name in accounts}
        self._unnamed = {n: each for n, each in known.items() if n not in accounts and each.in_use}
        for name, share in accounts.items():
            standing = self.named[name]
            standing.weight = share.weight
            standing.guaranteed = share.guaranteed
            standing.maximum = share.maximum
        self.guarantees = any(share.guaranteed for share in accounts.values())

    def kept(self, asking: Standing | None) -> int:
        """Return the permits that are kept for others than the one who asks."""
        return sum(_unused(each) for each in self._others(asking))

    def promised(self, asking: Standing | None) -> int:
        """Return what others are guaranteed, whether they use it or not."""
        return sum(each.guaranteed for each in self._others(asking))

    def _others(self, asking: Standing | None) -> Iterable[Standing]:
        return [each for each in self.named.values() if each is not asking]


def _unused(standing: Standing) -> int:
    return max(0, standing.guaranteed - standing.in_use)
