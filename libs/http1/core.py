"""What all connections of a server share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from libs.eager import Timers
from libs.http1.answers import AnswerHeads
from libs.http1.heads import HeadReader
from libs.http1.limits import Limits
from libs.http1.messages import Answer, Handler, Refusal

if TYPE_CHECKING:
    from libs.http1.lifetime import Lifetime

TICK_S: Final = 0.25
LOOK_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.05
log = logging.getLogger("libs.http1")


@dataclass(slots=True)
class Counters:
    """Plain numbers for whoever collects metrics; `connections` are open and not handed over."""

    connections: int = 0
    accepted: int = 0
    requests: int = 0  # those that handlers were called for
    handed_over: int = 0
    refused: dict[str, int] = field(default_factory=dict)  # by reason


class Holders:
    """How many connections each address has."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Holders {len(self._counts)}>"

    def enter(self, holder: str) -> None:
        """Count one more; nobody's are not counted."""
        if holder:
            self._counts[holder] = self._counts.get(holder, 0) + 1

    def leave(self, holder: str) -> None:
        """Count one less."""
        left = self._counts.pop(holder, 0) - 1
        if left > 0:
            self._counts[holder] = left

    def of(self, holder: str) -> int:
        """Return how many an address has."""
        return self._counts.get(holder, 0)


class Elsewhere:
    """Transports that were handed over, until they are closed: looked at once a second."""

    def __init__(self, timers: Timers, held: Holders) -> None:
        self.due = 0.0
        self._timers = timers
        self._held = held
        self._open: list[tuple[asyncio.Transport, str]] = []
        self._looked = 0.0

    def __repr__(self) -> str:
        return f"<Elsewhere {len(self._open)}>"

    def __len__(self) -> int:
        return len(self._open)

    def add(self, transport: asyncio.Transport, holder: str) -> None:
        """Count a transport from now on."""
        self._open.append((transport, holder))
        if len(self._open) == 1:
            self._look_again()

    def expire(self) -> None:
        """Forget those that are closed; called by the timers."""
        self.look()
        if self._open:
            self._look_again()

    def look(self) -> None:
        """Forget those that are closed, unless that was done just now."""
        if monotonic() - self._looked < LOOK_AGAIN_S:
            return
        self._looked = monotonic()
        for transport, holder in self._open:
            if transport.is_closing():
                self._held.leave(holder)
        self._open = [each for each in self._open if not each[0].is_closing()]

    def _look_again(self) -> None:
        self.due = monotonic() + LOOK_S
        self._timers.add(self)


class Core:
    """The routes, the limits, the clock, and the connections that are open."""

    def __init__(
        self,
        *,
        route: Callable[[str, str], Handler | None],
        other: Callable[[], asyncio.Protocol],
        refuse: Callable[[Refusal], Answer],
        limits: Limits,
        holder: Callable[[str], str],
    ) -> None:
        self.route = route
        self.other = other
        self.limits = limits
        self.loop: asyncio.AbstractEventLoop = cast(asyncio.AbstractEventLoop, None)  # of `listen`
        self.counters = Counters()
        self.timers = Timers(tick_s=TICK_S)
        self.reader = HeadReader(max_bytes=limits.max_header_bytes, max_headers=limits.max_headers)
        self.heads = AnswerHeads()
        self.connections: set[Lifetime] = set()
        self.held = Holders()
        self.elsewhere = Elsewhere(self.timers, self.held)
        self.accepting = True
        self.leaving = False  # no body is waited for any longer
        self.empty: asyncio.Event | None = None  # set when the last connection has gone
        self._refuse = refuse
        self._holder = holder

    def __repr__(self) -> str:
        return f"<Core {len(self.connections)} connections, accepting={self.accepting}>"

    def enter(self, connection: Lifetime) -> None:
        """Count a connection that was made."""
        if self.limits.max_per_address:
            connection.holder = self._holder(connection.peer)
            self.held.enter(connection.holder)
        self.connections.add(connection)
        self.counters.connections += 1
        self.counters.accepted += 1
        self.timers.add(connection)

    def leave(self, connection: Lifetime) -> None:
        """Forget a connection, at its end."""
        self._forget(connection)
        self.held.leave(connection.holder)

    def hand_over(self, connection: Lifetime, transport: asyncio.Transport) -> None:
        """Forget a connection whose transport is another protocol's from now on."""
        self._forget(connection)
        self.elsewhere.add(transport, connection.holder)
        self.counters.handed_over += 1

    def _forget(self, connection: Lifetime) -> None:
        self.timers.discard(connection)
        if connection in self.connections:
            self.connections.discard(connection)
            self.counters.connections -= 1
            if self.empty is not None and not self.connections:
                self.empty.set()

    def is_full(self) -> bool:
        """Whether there are more connections than there may be."""
        return len(self.connections) + len(self.elsewhere) > self.limits.max_connections

    def has_too_many(self, holder: str) -> bool:
        """Whether an address has more connections than one may."""
        most = self.limits.max_per_address
        if not most or self.held.of(holder) <= most:
            return False
        self.elsewhere.look()
        return self.held.of(holder) > most

    def refusal(self, refusal: Refusal, connection: bytes) -> bytes:
        """Return the answer to what is refused, counted; `connection` is its header line."""
        refused = self.counters.refused
        refused[refusal.reason] = refused.get(refusal.reason, 0) + 1
        try:
            status, headers, body = self._refuse(refusal)
            return self.heads.whole(status, headers, connection, body)
        except Exception:
            log.exception("no answer could be made to %r", refusal)
            return self.heads.whole(refusal.status, (), connection, b"")
