"""What accounts have used of their budgets, as it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from libs.common.account_limits import NEURONS, limit_name
from libs.common.world_map import Account, Spent
from services.control.sharing import Sharing


def remember(sharing: Sharing, spent: Iterable[Spent], *, today: int) -> None:
    """Give back what was used today."""
    for each in spent:
        if each.day == today:
            sharing.remember(limit_name(each.account, NEURONS), each.neurons, each.day)


def spent_of(sharing: Sharing, accounts: Mapping[str, Account]) -> list[Spent]:
    """Return what accounts that there are have used."""
    return [
        Spent(account=account, day=day, neurons=used)
        for name, (used, day) in sharing.spent().items()
        if (account := name.partition("/")[0]) in accounts
    ]
