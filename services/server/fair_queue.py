"""The line before the turnstile: fair between accounts by what they are served, within bounds.

Start-time fair queueing (Goyal, Vin, Cheng, "Start-time fair queuing", 1996), with an account
for a flow and permits for its bytes: each account has a virtual time, which goes on by cost /
weight with each call that it is served, and the one that is furthest behind is next. Who comes
new begins where the others are, so that nobody saves up. Within an account calls go by
priority, then by age.

The bound is in permits, and each account that waits has a part of it by weight: a call beyond
its account's part is refused. Where all of them are beyond the bound, since one has come that
was not there before, the account whose last call would wait longest loses that one. So
whoever floods the line loses its own newest calls, and who comes has its part at once. One call
of each account may always wait, if there is room at all.

An account's background calls are a line of their own, behind those of everyone: none has its
turn, and none keeps its place where the room runs out, while another call waits.

Pure and synchronous. An account is looked for by going over all that wait, which is fast for as
many as a line has room for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Generic, TypeVar

from libs.common.envelope import InferRequest
from services.server.standings import Standing

BACKGROUND: Final = " in the background"
IDLE_ACCOUNTS: Final = 1024  # that are remembered to be ahead, before those that no longer are go


def line_of(request: InferRequest) -> str:
    """Return the name of the line in which a call waits."""
    return request.account + BACKGROUND if request.background else request.account


class Place:
    """One call in line; the queue says how it ranks within its account."""

    def __init__(self, request: InferRequest, standing: Standing | None = None) -> None:
        self.request = request
        self.cost = request.cost
        self.standing = standing
        self.rank = (0, 0)

    def __repr__(self) -> str:
        return f"<Place of {self.request.request_id} cost={self.cost}>"


P = TypeVar("P", bound=Place)


class Line(Generic[P]):
    """The calls of one account that are in the background, or are not, in order."""

    __slots__ = ("calls", "cost", "is_background", "name", "standing", "start")

    def __init__(
        self, name: str, standing: Standing | None, start: float, is_background: bool
    ) -> None:
        self.name = name
        self.is_background = is_background
        self.standing = standing
        self.start = start  # the virtual time at which its next call begins
        self.cost = 0
        self.calls: list[P] = []

    def __repr__(self) -> str:
        return f"<Line {self.name} calls={len(self.calls)} cost={self.cost} at={self.start:.2f}>"

    @property
    def weight(self) -> float:
        """The account's share."""
        return self.standing.weight if self.standing is not None else 1.0

    @property
    def is_owed(self) -> bool:
        """Whether its next call is within its account's guarantee."""
        return self.standing is not None and self.standing.is_owed(self.calls[0].cost)

    def before_last(self) -> float:
        """Return the virtual time until its last call would begin."""
        return (self.cost - self.calls[-1].cost) / self.weight


class FairQueue(Generic[P]):
    """All who wait for permits of one shard."""

    def __init__(self) -> None:
        self.size = 0  # calls, with those at the front
        self.cost = 0  # permits that are waited for, without those at the front
        self.front: list[P] = []  # had their turn already
        self.lines: dict[str, Line[P]] = {}
        self._now = 0.0  # virtual time: where the account that was served last began
        self._ahead: dict[str, float] = {}  # where accounts go on that have nobody in line
        self._came = 0

    def __repr__(self) -> str:
        return f"<FairQueue calls={self.size} cost={self.cost} accounts={len(self.lines)}>"

    def configure(self, named: Mapping[str, Standing]) -> None:
        """Take over what accounts stand for now, for who waits already, too."""
        for line in self.lines.values():
            line.standing = named.get(line.calls[0].request.account)
        for place in self.everyone():
            place.standing = named.get(place.request.account)

    def add(self, place: P) -> None:
        """Line up, behind those of the account that have the same priority."""
        self._came += 1
        place.rank = (-place.request.priority, self._came)
        self._insert(place)

    def add_front(self, place: P) -> None:
        """Line up before everyone, whatever the bound."""
        self.front.append(place)
        self.size += 1

    def replace(self, older: P, newer: P) -> None:
        """Give a call's place to another that is its like in account, priority and cost."""
        calls = self.lines[line_of(older.request)].calls
        newer.rank = older.rank
        calls[calls.index(older)] = newer

    def remove(self, place: P) -> bool:
        """Let a call leave; whether it was there."""
        if place in self.front:
            self.front.remove(place)
            self.size -= 1
            return True
        line = self.lines.get(line_of(place.request))
        if line is None or place not in line.calls:
            return False
        self._leave(line, place)
        return True

    def serve(self, place: P, cost: int) -> None:
        """Let a call leave because it is served, and count the cost against its account's share.

        What is not to count costs 0.
        """
        if place in self.front:  # was counted when it was served the first time
            self.front.remove(place)
            self.size -= 1
            return
        line = self.lines[line_of(place.request)]
        if cost:
            self._now = max(self._now, line.start)
            line.start += cost / line.weight
        self._leave(line, place)

    def next_line(self, passed: Collection[Line[P]]) -> Line[P] | None:
        """Return the line whose turn it is: owed ones, then who is furthest behind, then age."""
        found: Line[P] | None = None
        best = (True, True, 0.0, 0)
        for line in self.lines.values():
            if line in passed:
                continue
            turn = (line.is_background, not line.is_owed, line.start, line.calls[0].rank[1])
            if found is None or turn < best:
                found, best = line, turn
        return found

    def forfeit(self, line: Line[P]) -> None:
        """Its account may hold no more: what it is behind meanwhile it does not get later."""
        line.start = max(line.start, self._now)

    def trim(self, limit: int, newest: P) -> list[P]:
        """Let go whom the bound leaves no room, and return them.

        It is `newest` alone where that has no place, and the newest of two equals.
        """
        line = self.lines[line_of(newest.request)]
        others = [
            each.weight
            for each in self.lines.values()
            if line.is_background or not each.is_background
        ]
        part = limit * line.weight / sum(others)
        gone: list[P] = []
        while line.cost > part and len(line.calls) > 1 and newest not in gone:
            gone.append(line.calls[-1])
            self._leave(line, line.calls[-1])
        while self.cost > limit and newest not in gone:
            line = self._longest(line_of(newest.request))
            gone.append(line.calls[-1])
            self._leave(line, line.calls[-1])
        if newest not in gone:
            return gone
        for place in gone:  # the others left for nothing
            if place is not newest:
                self._insert(place)
        return [newest]

    def before(
        self, request: InferRequest, weight: float, place: P | None = None
    ) -> tuple[int, float]:
        """Return the calls and permits that go before a call that waits, or comes now."""
        line = self.lines.get(line_of(request))
        ours = line.calls if line is not None else []
        if place is not None and place in ours:
            ours = ours[: ours.index(place)]
        own = sum([each.cost for each in ours])
        calls, permits = float(len(self.front) + len(ours)), float(own)
        for other in self.lines.values():
            if other is line or (other.is_background and not request.background):
                continue
            if request.background and not other.is_background:
                calls += len(other.calls)
                permits += other.cost
            else:
                meanwhile = max(own / weight * other.weight, float(other.calls[0].cost))
                meanwhile = min(float(other.cost), meanwhile)
                calls += len(other.calls) * meanwhile / other.cost
                permits += meanwhile
        return round(calls), permits

    def everyone(self) -> list[P]:
        """Return all who wait, account by account."""
        return [*self.front, *[each for line in self.lines.values() for each in line.calls]]

    def _longest(self, favourite: str) -> Line[P]:
        """Return the line whose last call would wait longest; of equals the one named."""
        found = self.lines.get(favourite)
        longest = _lasts(found) if found is not None else (False, -1.0)
        for line in self.lines.values():
            if _lasts(line) > longest:
                found, longest = line, _lasts(line)
        assert found is not None
        return found

    def _leave(self, line: Line[P], place: P) -> None:
        line.calls.remove(place)
        line.cost -= place.cost
        self.cost -= place.cost
        self.size -= 1
        if not line.calls:
            del self.lines[line.name]
            self._remember(line)

    def _insert(self, place: P) -> None:
        """Put a call where its rank says."""
        name, is_background = line_of(place.request), place.request.background
        line = self.lines.get(name)
        if line is None:
            start = max(self._now, self._ahead.pop(name, 0.0))
            line = self.lines[name] = Line(name, place.standing, start, is_background)
        at = len(line.calls)
        while at and line.calls[at - 1].rank > place.rank:
            at -= 1
        line.calls.insert(at, place)
        line.cost += place.cost
        self.cost += place.cost
        self.size += 1

    def _remember(self, line: Line[P]) -> None:
        """Keep where an account goes on: who comes again at once must not begin anew."""
        if not self.lines:
            self._now = 0.0
            self._ahead.clear()
            return
        if line.start > self._now:
            self._ahead[line.name] = line.start
        if len(self._ahead) > IDLE_ACCOUNTS:
            self._ahead = {name: at for name, at in self._ahead.items() if at > self._now}


def _lasts(line: Line[P]) -> tuple[bool, float]:
    """Return how late the last call of a line would be served, to compare it by."""
    return line.is_background, line.before_last()
