"""What each console is shown of the world, written once for those that see the same."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from libs.common.catalog import Model
from libs.common.clock import Clock
from libs.common.errors import BY_REASON
from libs.common.world import World
from libs.common.world_map import Account, Token
from services.entry.admins import Admins
from services.entry.fronts.bodies import to_json
from services.entry.gateway import Gateway
from services.entry.viewing import View, rows

MOST_KEPT: Final = 64
PIECE: Final = 50  # rows, of which each takes some microseconds
CODES: Final = to_json({str(cls.code): cls.reason for cls in reversed(BY_REASON.values())})
Sections: TypeAlias = Mapping[str, bytes]  # JSON, by name
_Key: TypeAlias = tuple[str, tuple[str, ...], bool]


class Views:
    """Writes the world's sections for a token, at most once in `every_s` for all of its kind."""

    def __init__(
        self,
        *,
        world: World,
        gateway: Gateway,
        admins: Admins,
        clock: Clock,
        every_s: float,
        most_rows: int,
    ) -> None:
        self._world = world
        self._gateway = gateway
        self._admins = admins
        self._clock = clock
        self._fresh_s = every_s / 2
        self._most_rows = most_rows
        self._heard = 0.0  # when control spoke last; 0: not yet
        self._writing = asyncio.Lock()
        self._kept: dict[_Key, tuple[float, Sections]] = {}

    def __repr__(self) -> str:
        return f"<Views {len(self._kept)} kept>"

    def heard(self) -> None:
        """Note that control has just spoken."""
        self._heard = self._clock.now()

    def sees_all(self, token: Token) -> bool:
        """Whether a token may see what all accounts do."""
        return self._admins.see_all(token)

    def models(self, token: Token) -> list[Model]:
        """Return the models that a token may see: all of them, or those that it may run."""
        if self._admins.see_all(token):
            return [each for _, each in sorted(self._world.table(Model).items())]
        return self._runs(token)

    def _runs(self, token: Token) -> list[Model]:
        models = self._gateway.models(token.account)
        return [each for each in models if not token.models or each.name in token.models]

    async def sections(self, token: Token) -> Sections:
        """Return the world as a token may see it."""
        key = (token.account, token.models, self.sees_all(token))
        async with self._writing:  # who comes second finds what the first one wrote
            made, sections = self._kept.get(key, (0.0, None))
            if sections is None or self._clock.now() - made > self._fresh_s:
                sections = await self._write(token)
                if len(self._kept) >= MOST_KEPT:
                    self._kept.clear()
                self._kept[key] = self._clock.now(), sections
            return sections

    async def _write(self, token: Token) -> Sections:
        """Write all of it, with pauses: calls must not wait for a large world."""
        whole = View(self._most_rows)
        runs = {each.name for each in self._runs(token)}
        every = rows(self._world, self.models(token), runs=runs, sees_all=self.sees_all(token))
        for number, (name, row) in enumerate(every, start=1):
            whole.add(name, row)
            if number % PIECE == 0:
                await asyncio.sleep(0)
        return {name: to_json(each) for name, each in whole.sections().items()}

    def now(self) -> bytes:
        """Return the moment, and for how long control has been silent (null: it never spoke)."""
        silent_s = round(self._clock.now() - self._heard, 1) if self._heard else None
        return to_json({"at_ms": self._clock.unix_ms(), "control_silent_s": silent_s})

    def me(self, token: Token) -> bytes:
        """Return whose token it is, and what it may do."""
        account = self._world.table(Account).get(token.account)
        return to_json(
            {
                "account": token.account,
                "name": account.name if account else "",
                "token": token.name,
                "scopes": token.scopes,
                "sees_all": self.sees_all(token),
                "colo": self._gateway.colo,
            }
        )


def changed(sections: Sections, sent: Sections) -> list[str]:
    """Return the names of the sections that are not as they were sent."""
    return [name for name, written in sections.items() if sent.get(name) != written]


def object_of(sections: Sections, names: Sequence[str]) -> bytes:
    """Write some of the sections as one object."""
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), sections[name]) for name in names) + b"}"
