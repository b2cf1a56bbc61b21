"""Accounts' limits by name, and what was used of their budgets, as it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from libs.common.account_limits import NEURONS, limit_name, limit_of
from libs.common.world import World
from libs.common.world_map import Account, Spent
from services.control.sharing import Sharing


def limit_in(world: World, name: str) -> float:
    """Return an account's limit by its name, 0 where there is none."""
    account, _, kind = name.partition("/")
    found = world.table(Account).get(account)
    return limit_of(found, kind) if found is not None else 0.0


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
