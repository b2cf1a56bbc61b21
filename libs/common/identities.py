"""Who speaks: the names in certificates of our services, and which of them may do what.

A certificate says so in URIs such as constellation://server/dc-a-1: a role, and a name in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

SCHEME: Final = "constellation"
ROLES: Final = ("entry", "server", "node", "control", "scheduler", "analytics", "operator")


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody in a role; a certificate may have several."""

    role: str
    name: str

    def __str__(self) -> str:
        return f"{SCHEME}://{self.role}/{quote(self.name, safe='')}"


def identity(uri: str) -> Identity | None:
    """Read a URI; None for one that names nobody of ours."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    name = unquote(parts.path.removeprefix("/"))
    if parts.scheme != SCHEME or parts.netloc not in ROLES or not name:
        return None
    return Identity(parts.netloc, name)


def identities(uris: Iterable[str]) -> tuple[Identity, ...]:
    """Return those of a certificate's URIs that name somebody."""
    return tuple(found for uri in uris if (found := identity(uri)) is not None)


def refusal(uris: Iterable[str], roles: Collection[str], what: str) -> str:
    """Return why somebody with these URIs may not do what only those roles may; empty if they may.

    `what` is what is asked for, in words.
    """
    found = identities(uris)
    if any(each.role in roles for each in found):
        return ""
    who = ", ".join(map(str, found)) or "a certificate without a role"
    return f"{who} may not {what}: expected a certificate of the role {' or '.join(sorted(roles))}"
