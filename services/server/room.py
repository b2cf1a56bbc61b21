"""The room behind the turnstile: what the endpoints have free, and for whom.

A permit is a slot on one endpoint, so what is free is what the healthy endpoints
have free; nothing is counted twice.

One endpoint at a time may be held for a call that needs more than any has free: it leases to
nobody else until the call fits, except to accounts within their guarantees.
"""

from __future__ import annotations

from services.server.endpoints import Endpoint
from services.server.standings import Standing, Standings


class Room:
    """The endpoints of a shard, and what accounts may have of them."""

    __slots__ = ("endpoints", "held", "standings")

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.standings = Standings()
        self.held: Endpoint | None = None

    def __repr__(self) -> str:
        return f"<Room free={self.free}/{self.permits} held={self.held and self.held.instance}>"

    @property
    def permits(self) -> int:
        """All permits of the healthy endpoints."""
        return sum([e.concurrency for e in self.endpoints.values() if e.state == "healthy"])

    @property
    def free(self) -> int:
        """Permits that could be leased now."""
        free = 0
        for each in self.endpoints.values():  # as Endpoint.free, without a call for each
            if each.state == "healthy" and each.concurrency > each.in_flight:
                free += each.concurrency - each.in_flight
        return free

    @property
    def free_for_all(self) -> int:
        """What is free and not held."""
        return self.free - (self.held.free if self.held is not None else 0)

    def at_most(self, cost: int) -> int:
        """Return what a call can take that asks for so many permits: one endpoint's at most."""
        if cost == 1:
            return 1
        sizes = [e.concurrency for e in self.endpoints.values() if e.state == "healthy"]
        return min(cost, max(sizes, default=cost))

    def may(self, standing: Standing | None, cost: int) -> bool:
        """Whether so many permits may be leased to an account, wherever they are."""
        if standing is not None and not standing.may_hold(cost):
            return False
        if not self.standings.guarantees or (standing is not None and standing.is_owed(cost)):
            return True
        return self.free - cost >= self.standings.kept(standing)

    def beside(self, cost: int) -> list[Endpoint]:
        """Return the endpoints that are not held, and large enough."""
        return [
            each
            for each in self.endpoints.values()
            if each is not self.held and each.concurrency >= cost
        ]

    def hold(self, standing: Standing | None, cost: int) -> None:
        """Hold the endpoint where so many permits will be free first, unless they never will."""
        if standing is not None and not standing.may_hold(cost):
            return
        if self.permits - self.standings.promised(standing) < cost:
            return
        for each in self.endpoints.values():
            if (
                each.state == "healthy"
                and each.concurrency >= cost
                and (self.held is None or each.free > self.held.free)
            ):
                self.held = each
