"""Affinity: what an endpoint is thought to hold, by what was sent to it.

Nobody asks the instance: its adapters leave in the order of their use, as the
table's do, and a prefix that it has dropped costs what it would cost elsewhere.
"""

from __future__ import annotations

from libs.common.catalog import Lora
from libs.common.envelope import InferRequest
from services.server.preferences import USUAL, Preferences
from services.server.recent import Recent


class Affinity:
    """The adapters, sessions and prefixes of one endpoint, each in a bounded table."""

    __slots__ = ("adapters", "prefixes", "sessions")

    def __init__(self) -> None:
        self.adapters: Recent[str] = Recent(Lora().resident)
        self.sessions: Recent[tuple[str, str]] = Recent(USUAL.sessions)
        self.prefixes: Recent[int] = Recent(USUAL.prefixes)

    def __repr__(self) -> str:
        return (
            f"<Affinity adapters={len(self.adapters)} sessions={len(self.sessions)}"
            f" prefixes={len(self.prefixes)}>"
        )

    def limit(self, *, adapters: int, sessions: int, prefixes: int) -> None:
        """Hold so many of each from the next use on."""
        self.adapters.limit = adapters
        self.sessions.limit = sessions
        self.prefixes.limit = prefixes

    def points(self, request: InferRequest, preferences: Preferences) -> float:
        """Return what it is worth that this endpoint has what the request needs."""
        points = 0.0
        if request.adapter and self.adapters.holds(request.adapter):
            points += preferences.adapter
        if request.session and self.sessions.holds(session_of(request)):
            points += preferences.session
        if request.prefix_hashes:
            points += preferences.prefix * self.known_share(request.prefix_hashes)
        return points

    def known_share(self, hashes: tuple[int, ...]) -> float:
        """Return how much of the prefixes, from coarse to fine, was here before."""
        known = len(hashes)
        while known and not self.prefixes.holds(hashes[known - 1]):
            known -= 1
        return known / len(hashes) if known else 0.0

    def reason(self, request: InferRequest) -> str:
        """Return the first thing that it has of what the request needs, empty for none."""
        if request.adapter and self.adapters.holds(request.adapter):
            return "adapter"
        if request.session and self.sessions.holds(session_of(request)):
            return "session"
        return "prefix" if self.known_share(request.prefix_hashes) else ""

    def take(self, request: InferRequest) -> None:
        """The request is sent to this endpoint: from now on it has what that needs."""
        if request.adapter:
            self.adapters.use(request.adapter)
        if request.session:
            self.sessions.use(session_of(request))
        for each in reversed(request.prefix_hashes):  # the coarse, which most share, leave last
            self.prefixes.use(each)

    def forget(self) -> None:
        """The instance may have started anew, and then holds nothing."""
        self.adapters.clear()
        self.sessions.clear()
        self.prefixes.clear()


def session_of(request: InferRequest) -> tuple[str, str]:
    """Return the session's key: no account meets another's."""
    return request.account, request.session


def has_affinity(request: InferRequest) -> bool:
    """Whether it matters to the request what an endpoint holds."""
    return bool(request.adapter or request.session or request.prefix_hashes)
