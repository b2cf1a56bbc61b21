"""Accounts' limits at this entry: its shares of them, from control, and what it reports of them.

Control grants each entry a share of each limit, by what is asked for there. Cut off, an entry
keeps its shares for a while, and goes on with an even part then. The request path reads
`limited` and nothing else of this.
"""

from __future__ import annotations

from collections.abc import Iterator

from libs.common.account_limits import is_limited, limit_of
from libs.common.clock import Clock
from libs.common.limit_shares import LimitUse, Shares, Use
from libs.common.world import World
from libs.common.world_map import Account, EntryLoad, Update
from services.entry.buckets import Allowance, Bucket
from services.entry.holds import Meter, Parts

IDLE_S = 120.0  # a bucket that was not asked for so long is full, and need not be kept


class Limiter:
    """Keeps a meter for each account that has limits."""

    def __init__(self, *, name: str, world: World, clock: Clock) -> None:
        self.limited: dict[str, Meter] = {}
        self.parts = Parts()
        self._name = name
        self._world = world
        self._clock = clock
        self._applied = 0
        self._keep_until = 0.0  # 0: control has not said anything yet
        world.listen(self._changed)
        self._changed(world.everything())

    def __repr__(self) -> str:
        return f"<Limiter {len(self.limited)} accounts, {self.parts!r}>"

    def granted(self, shares: Shares) -> None:
        """Act on control's word."""
        now = self._clock.now()
        self._applied = shares.number
        self._keep_until = now + shares.keep_s
        self.parts.alone = 0.0
        self.parts.even = shares.even
        if shares.complete:
            self.parts.named.clear()
        for name, share in shares.shares.items():
            if share < 0:
                self.parts.named.pop(name, None)
            else:
                self.parts.named[name] = share
        self._divide(now)

    def use(self) -> Use:
        """Say what was asked for and used since the last time."""
        now = self._clock.now()
        if now > self._keep_until:
            self._go_on_alone(now)
        even, limits = self.parts.alone or self.parts.even, []
        for meter in self.limited.values():
            for limit in _limits(meter):
                if limit.asked or limit.name in self.parts.named or _has_spent(limit):
                    limits.append(_told(limit))
                limit.asked = 0.0
            _forget_idle(meter, now)
        return Use(applied=self._applied, even=even, limits=tuple(limits))

    def waits(self) -> bool:
        """Whether control has given this entry nothing yet, as others have all of it."""
        return not self.parts.alone and self.parts.even <= 0.0

    def _go_on_alone(self, now: float) -> None:
        """Have an even part of everything: control has been away for too long, or always was."""
        others = self._world.table(EntryLoad).keys() - {self._name}
        even = 1.0 / (1 + len(others))
        if self.parts.alone != even:
            self.parts.alone = even
            self._divide(now)

    def _divide(self, now: float) -> None:
        for meter in self.limited.values():
            account = meter.account
            for limit in _limits(meter):
                share = self.parts.of(limit.name)
                whole = limit_of(account, limit.name.partition("/")[2])
                if isinstance(limit, Allowance):
                    limit.per_day, limit.share = whole, share
                elif share != limit.share or whole != limit.per_minute:
                    limit.divide(whole, share, now)

    def _changed(self, update: Update) -> None:
        """Take in accounts that are new, changed or gone; what they have used stays."""
        accounts = self._world.table(Account)
        if update.complete:
            touched = [*self.limited, *accounts]
        else:
            touched = [each.id for each in update.puts if isinstance(each, Account)]
            touched += [name.key for name in update.deletes if name.kind == "account"]
        for key in touched:
            account = accounts.get(key)
            if account is None or not is_limited(account):
                self.limited.pop(key, None)
            elif key not in self.limited:
                self.limited[key] = Meter(account, self.parts)
            elif self.limited[key].account != account:
                _change(self.limited[key], account)
        if touched:
            self._divide(self._clock.now())


def _change(meter: Meter, account: Account) -> None:
    """Let go of the limits that are no more; `divide` sees to the others."""
    meter.account = account
    for task in meter.requests.keys() - account.requests_per_minute.keys():
        del meter.requests[task]
    if not account.tokens_per_minute:
        meter.tokens = None
    if not account.neurons_per_day:
        meter.budget = None


def _limits(meter: Meter) -> Iterator[Bucket | Allowance]:
    yield from meter.requests.values()
    if meter.tokens is not None:
        yield meter.tokens
    if meter.budget is not None:
        yield meter.budget


def _told(limit: Bucket | Allowance) -> LimitUse:
    if isinstance(limit, Bucket):
        return LimitUse(name=limit.name, share=limit.share, asked=limit.asked)
    return LimitUse(
        name=limit.name, share=limit.share, asked=limit.asked, used=limit.used, day=limit.day
    )


def _has_spent(limit: Bucket | Allowance) -> bool:
    return isinstance(limit, Allowance) and limit.used > 0.0


def _forget_idle(meter: Meter, now: float) -> None:
    """Drop what is full again, so that memory goes back to accounts that are there."""
    for task, bucket in list(meter.requests.items()):
        if now - bucket.at > IDLE_S:
            bucket.fill(now)
            if bucket.level >= bucket.most > 0.0 and bucket.name not in meter.shares.named:
                del meter.requests[task]
