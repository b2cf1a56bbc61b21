"""Accounts' limits by name, and what was used of their budgets, as it is kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from libs.common.account_limits import NEURONS, limit_name, limit_of
from libs.common.errors import Unavailable
from libs.common.world import World
from libs.common.world_map import Account, Spent
from services.control.sharing import Sharing

log = logging.getLogger(__name__)


def limit_in(world: World, name: str) -> float:
    """Return an account's limit by its name, 0 where there is none."""
    account, _, kind = name.partition("/")
    found = world.table(Account).get(account)
    return limit_of(found, kind) if found is not None else 0.0


class KeptSpent:
    """Keeps what is used of budgets, so that a restart gives nobody a second one."""

    def __init__(
        self,
        *,
        sharing: Sharing,
        world: World,
        write: Callable[[Sequence[Spent]], Awaitable[object]],
        every_s: float,
    ) -> None:
        """`write` writes into the store and shows it in the world; it raises Unavailable."""
        self._sharing = sharing
        self._world = world
        self._write = write
        self._every_s = every_s

    def __repr__(self) -> str:
        return f"<KeptSpent every {self._every_s:g} s>"

    def remember(self, *, today: int) -> None:
        """Give back what was used today."""
        for each in self._world.table(Spent).values():
            if each.day == today:
                self._sharing.remember(limit_name(each.account, NEURONS), each.neurons, each.day)

    async def run(self) -> None:
        """Keep it until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.keep()

    async def keep(self) -> None:
        """Write what accounts that there are have used since."""
        kept, accounts = self._world.table(Spent), self._world.table(Account)
        spent = [
            Spent(account=account, day=day, neurons=used)
            for name, (used, day) in self._sharing.spent().items()
            if (account := name.partition("/")[0]) in accounts
        ]
        if not (changed := [each for each in spent if kept.get(each.key) != each]):
            return
        try:
            await self._write(changed)
        except Unavailable as error:
            log.error("what accounts have used is not kept: %s", error)
