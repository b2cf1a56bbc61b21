"""Cross-origin calls: what a browser needs to hear before a page of another site may call here.

Tokens are headers that a page must know, never cookies, so that any origin may be let in. What
needs no token, such as metrics, is not shown to pages of other sites.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

Headers = Sequence[tuple[str, str]]
API: Final = ("/client/", "/v1/")  # what pages may call
METHODS: Final = "GET, POST, DELETE"
NONE: Final[Headers] = ()
NAMES: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,1000}")


class Cors:
    """Decides which origins may call, and what they hear."""

    def __init__(self, origins: Sequence[str], *, max_age_s: float) -> None:
        """`*` lets every origin in."""
        self._origins = frozenset(filter(None, map(str.strip, origins)))
        self._max_age_s = max_age_s

    def __repr__(self) -> str:
        return f"<Cors {', '.join(sorted(self._origins)) or 'off'}>"

    def headers(self, origin: str, path: str) -> Headers:
        """Return what an answer says to a page of this origin."""
        allowed = self._allowed(origin, path)
        if not allowed:
            return NONE
        told = [("Access-Control-Allow-Origin", allowed), ("Access-Control-Expose-Headers", "*")]
        return told if allowed == "*" else [*told, ("Vary", "Origin")]

    def preflight(self, origin: str, path: str, wanted: str) -> Headers:
        """Return the answer to what a browser asks first; nothing where it may not call.

        `wanted` are the headers that the call will have.
        """
        told = self.headers(origin, path)
        if not told:
            return NONE
        names = wanted if NAMES.fullmatch(wanted) else "Authorization, Content-Type"
        return [
            *told,
            ("Access-Control-Allow-Methods", METHODS),
            ("Access-Control-Allow-Headers", names),
            ("Access-Control-Max-Age", str(int(self._max_age_s))),
        ]

    def _allowed(self, origin: str, path: str) -> str:
        if not origin or not path.startswith(API):
            return ""
        if "*" in self._origins:
            return "*"
        return origin if origin in self._origins else ""
