"""How entries share accounts' limits: each has a part of each limit, by what is asked for there.

A limit that nobody asks for is split evenly, without being named. A share is only made larger
by what others have let go of for certain: they have said that they act on a smaller one, or
were silent for so long that they gave it up. So all shares together are never more than 1, in
whatever order messages come, and whichever are lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from libs.common.account_limits import NEURONS
from libs.common.limit_shares import Shares, Use

EVEN = ""  # the row of all limits that are not named
FLOOR = 0.02  # of a limit is split evenly, so that who asks anew at an entry finds some there
MEMORY_S, SHORT_MEMORY_S = 20.0, 4.0  # in which demand is forgotten
# So many times as much or as little, and by such a part of the limit, is no chance any more.
CHANGED, CHANGED_PART = 5.0, 0.2
QUIET_S = 15.0  # in which nobody asked: there is no demand
LEAST_ASKED = 1e-3  # per second; less is no demand
# By how much a share must be too large to be made smaller. What moves idles for two seconds, so
# what an entry uses is left to it, unless another has far too little.
UNUSED, USED = 0.01, 0.25
SOLID = 1.4  # times what comes back must be asked for, so that all of it is used, as calls come
TINY = 1e-6
LEASE_MARGIN_S = 5.0  # an entry's last words may have been on their way for so long
NOT_NAMED = -1.0


class Holding:
    """What one entry has of one limit: what it was told, and what it may still act on."""

    __slots__ = ("most", "number", "share")

    def __init__(self, share: float, most: float, number: int) -> None:
        self.share = share
        self.most = most
        self.number = number  # of the answer that told it

    def __repr__(self) -> str:
        return f"<Holding {self.share:.3f} at most {self.most:.3f}>"


class Demand:
    """What an entry asks of a limit, per second: a mean over long, as calls come by chance.

    Where a mean over short says something else altogether, a new mean begins with that.
    """

    __slots__ = ("age_s", "per_s", "quiet_s", "short")

    def __init__(self) -> None:
        self.per_s = 0.0
        self.short = 0.0
        self.age_s = 0.0
        self.quiet_s = 0.0

    def __repr__(self) -> str:
        return f"<Demand {self.per_s:.3f} of late {self.short:.3f}>"

    def add(self, asked: float, elapsed: float, limit: float) -> None:
        """Take in what was asked for in the last so many seconds, of a limit per second."""
        memory_s = min(MEMORY_S, SHORT_MEMORY_S + self.age_s)
        self.per_s += (1.0 - math.exp(-elapsed / memory_s)) * (asked / elapsed - self.per_s)
        self.short += (1.0 - math.exp(-elapsed / SHORT_MEMORY_S)) * (asked / elapsed - self.short)
        self.age_s += elapsed
        less, more = sorted((self.per_s, self.short))
        if more > less * CHANGED and more - less > limit * CHANGED_PART:
            self.per_s, self.age_s = self.short, 0.0
        self.quiet_s = 0.0 if asked else self.quiet_s + elapsed
        if self.quiet_s > QUIET_S:
            self.per_s = self.short = self.age_s = 0.0


class Row:
    """One limit, and what each entry has and asks of it; of a budget also what it has used."""

    __slots__ = ("day", "demands", "gone", "holdings", "per_s", "used", "whole")

    def __init__(self, limit: float = 0.0, *, is_budget: bool = False, day: int = 0) -> None:
        self.holdings: dict[str, Holding] = {}
        self.demands: dict[str, Demand] = {}
        self.whole = limit if is_budget else 0.0  # the budget, 0 for a rate
        self.per_s = 0.0 if is_budget else limit / 60.0  # the rate
        self.day = day
        self.used: dict[str, float] = {}  # of the budget on that day, by the entries that there are
        self.gone = 0.0  # and by others

    def __repr__(self) -> str:
        return f"<Row {self.holdings}>"

    @property
    def spent(self) -> float:
        """What was used of the budget."""
        return self.gone + sum(self.used.values())

    @property
    def is_wanted(self) -> bool:
        """Whether anybody asks for it."""
        return self.asked > LEAST_ASKED

    @property
    def asked(self) -> float:
        """What all entries ask for, in a second."""
        return sum(each.per_s for each in self.demands.values())

    def target(self, entry: str, entries: int) -> float:
        """Return the share that an entry should have."""
        asked = self.asked
        part = 1.0 / entries
        if asked > LEAST_ASKED:
            part = FLOOR / entries + (1 - FLOOR) * self.demands[entry].per_s / asked
        if not self.whole:
            return part
        left = max(0.0, 1.0 - self.spent / self.whole)
        return self.used.get(entry, 0.0) / self.whole + left * part

    def leeway(self, entry: str) -> float:
        """Return by how much an entry's share may be too large."""
        if not self.is_wanted:
            return TINY
        is_used = self.demands[entry].per_s >= SOLID * self.per_s * self.holdings[entry].share
        return USED if is_used and not self.whole else UNUSED

    def free_for(self, entry: str) -> float:
        """Return what an entry may have at most: what no other may still act on."""
        others = sum(self._most(name) for name in self.holdings if name != entry)
        total = 1.0 - self.gone / self.whole if self.whole else 1.0
        return max(0.0, total - others)

    def _most(self, entry: str) -> float:
        most = self.holdings[entry].most
        return max(most, self.used.get(entry, 0.0) / self.whole) if self.whole else most

    def limit_is(self, limit: float) -> None:
        """Have another limit; a budget that is none any more is shared as a rate."""
        self.whole = limit if self.whole else 0.0
        self.per_s = 0.0 if self.whole else limit / 60.0

    def uses(self, entry: str, used: float, day: int) -> None:
        """Take in what an entry has used of the budget."""
        if day == self.day:
            self.used[entry] = used

    def forget(self, entry: str) -> None:
        """Let go of an entry; what it has used stays used."""
        self.holdings.pop(entry, None)
        self.demands.pop(entry, None)
        self.gone += self.used.pop(entry, 0.0)

    def on(self, day: int) -> None:
        """Begin a new day, if it is one."""
        if self.day != day:
            self.day, self.gone = day, 0.0
            self.used.clear()


class Peer:
    """An entry as control knows it."""

    __slots__ = ("heard_at", "number", "unnamed")

    def __init__(self, now: float) -> None:
        self.heard_at = now
        self.number = 0  # of the last answer
        self.unnamed: dict[str, int] = {}  # limits that are not named any more, until it knows


class Sharing:
    """Answers what entries report; `limit` returns a limit by its name, 0 if there is no such."""

    def __init__(
        self, *, keep_s: float, limit: Callable[[str], float], first_number: int = 0
    ) -> None:
        self._keep_s = keep_s
        self._limit = limit
        self._number = first_number  # grows over restarts, so that old answers are known as such
        self._first = first_number
        self._peers: dict[str, Peer] = {}
        self._rows: dict[str, Row] = {EVEN: Row()}

    def __repr__(self) -> str:
        return f"<Sharing {len(self._peers)} entries, {len(self._rows) - 1} limits>"

    def remember(self, name: str, used: float, day: int) -> None:
        """Take in what was used of a budget before this began."""
        if self._limit(name):
            self._rows[name] = row = Row(self._limit(name), is_budget=True, day=day)
            row.gone = used

    def spent(self) -> Mapping[str, tuple[float, int]]:
        """Return what was used of each budget, and on which day."""
        rows = self._rows.items()
        return {name: (row.spent, row.day) for name, row in rows if row.whole and row.spent}

    def heard(self, entry: str, use: Use, *, now: float, day: int) -> Shares:
        """Take in a report, and return what the entry has from now on."""
        self._expire(now)
        peer = self._peers.get(entry)
        knows_us = use.applied > self._first
        if peer is None:
            peer = self._peers[entry] = Peer(now)
            self._take_over(entry, use)
        elif use.applied == 0:
            self._restarted(entry)
        self._number += 1
        peer.number = number = self._number
        self._acknowledge(entry, peer, use.applied)
        self._demand(entry, use, elapsed=max(0.05, now - peer.heard_at), day=day, number=number)
        peer.heard_at = now
        for row in self._rows.values():
            self._share(row, entry, number)
        self._unname(number)
        return self._answer(entry, peer, use.applied, complete=not knows_us)

    def _expire(self, now: float) -> None:
        """Let go of entries that have given up their shares by now."""
        longest = self._keep_s + LEASE_MARGIN_S
        for name in [n for n, peer in self._peers.items() if now - peer.heard_at > longest]:
            del self._peers[name]
            for row in self._rows.values():
                row.forget(name)

    def _take_over(self, entry: str, use: Use) -> None:
        """Believe an entry that was there before this control what it has."""
        even = use.even if use.applied else 0.0
        self._rows[EVEN].holdings[entry] = Holding(even, even, 0)
        for limit in use.limits if use.applied else ():
            row = self._row(limit.name, limit.day)
            if row is not None:
                row.holdings[entry] = Holding(limit.share, limit.share, 0)

    def _restarted(self, entry: str) -> None:
        """Keep what an entry has used that has forgotten it."""
        for row in self._rows.values():
            row.gone += row.used.pop(entry, 0.0)

    def _acknowledge(self, entry: str, peer: Peer, applied: int) -> None:
        for row in self._rows.values():
            holding = row.holdings.get(entry)
            if holding is not None and holding.number <= applied:
                holding.most = holding.share
        for name in [name for name, number in peer.unnamed.items() if number <= applied]:
            del peer.unnamed[name]

    def _demand(self, entry: str, use: Use, *, elapsed: float, day: int, number: int) -> None:
        """Take in what was asked for, as a mean that forgets."""
        asked = {limit.name: limit.asked for limit in use.limits}
        for limit in use.limits:
            row = self._row(limit.name, day)
            if row is not None:
                row.on(day)
                row.uses(entry, limit.used, limit.day)
        for name, row in self._rows.items():
            if name == EVEN:
                continue
            row.on(day)
            row.limit_is(self._limit(name))
            if entry not in row.holdings:  # it acts on its even part until it hears of this one
                even = self._rows[EVEN].holdings[entry]
                row.holdings[entry] = Holding(even.share, even.most, number)
            demand = row.demands.setdefault(entry, Demand())
            demand.add(asked.get(name, 0.0), elapsed, row.per_s)

    def _row(self, name: str, day: int) -> Row | None:
        row = self._rows.get(name)
        if row is None and name != EVEN and (limit := self._limit(name)):
            is_budget = name.endswith(f"/{NEURONS}")
            row = self._rows[name] = Row(limit, is_budget=is_budget, day=day)
            for other in self._peers:
                even = self._rows[EVEN].holdings.get(other)
                if even is not None:
                    # told as the next answer's, whichever that is: until then it has its even part
                    row.holdings[other] = Holding(even.share, even.most, self._number + 1)
        return row

    def _share(self, row: Row, entry: str, number: int) -> None:
        """Bring an entry's share nearer to what it should be, as far as that is safe."""
        holding = row.holdings[entry]
        target = row.target(entry, len(self._peers))
        is_too_much = row.free_for(entry) < holding.share - TINY  # a control before gave out more
        if target < holding.share - (TINY if is_too_much else row.leeway(entry)):
            holding.share, holding.number = target, number
        elif target > holding.share + TINY:
            share = min(target, row.free_for(entry))
            if share > holding.share + TINY:
                holding.share, holding.number = share, number
                holding.most = max(holding.most, share)

    def _unname(self, number: int) -> None:
        """Stop naming limits that nobody asks for, once all have their even part again."""
        for name, row in list(self._rows.items()):
            if name == EVEN or row.spent or row.is_wanted:
                continue
            if all(self._is_even(entry, holding) for entry, holding in row.holdings.items()):
                del self._rows[name]
                for peer in self._peers.values():
                    peer.unnamed[name] = number

    def _is_even(self, entry: str, holding: Holding) -> bool:
        even = self._rows[EVEN].holdings[entry]
        same = abs(holding.share - even.share) <= TINY
        return same and holding.share == holding.most and even.share == even.most

    def _answer(self, entry: str, peer: Peer, applied: int, *, complete: bool) -> Shares:
        """Say what the entry has not yet said that it acts on."""
        shares = dict.fromkeys(peer.unnamed, NOT_NAMED)
        for name, row in self._rows.items():
            holding = row.holdings[entry]
            if name != EVEN and (complete or holding.number > applied):
                shares[name] = holding.share
                peer.unnamed.pop(name, None)
                holding.number = max(holding.number, peer.number if complete else 0)
        return Shares(
            number=peer.number,
            complete=complete,
            even=self._rows[EVEN].holdings[entry].share,
            shares=shares,
            keep_s=self._keep_s,
        )

    def names(self) -> Iterable[str]:
        """Return the limits that are named now."""
        return [name for name in self._rows if name != EVEN]
