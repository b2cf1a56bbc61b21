"""A remote procedure as its callers know it; keeps the header blocks of its calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from libs.lean.headers import Field, Head, encode, extended

USER_AGENT: Final = "lean-grpc/1"
MOST_KEPT: Final = 1024
_LONGEST_US: Final = 99_000_000 * 1_000_000  # there is room for eight digits


class Method:
    """One procedure, on whatever channel; `tell_deadline` tells the server each call's timeout."""

    def __init__(
        self, path: str, *, metadata: Sequence[Field] = (), tell_deadline: bool = False
    ) -> None:
        if not path.startswith("/"):
            raise ValueError(f"a method's path starts with a slash: {path!r}")
        self.path = path
        self.tell_deadline = tell_deadline
        self.metadata = tuple(metadata)
        self._heads: dict[str, Head] = {}
        self._timed: dict[tuple[str, int], Head] = {}
        self._head("http localhost")  # raises now what would be raised at each call

    def __repr__(self) -> str:
        return f"<Method {self.path}>"

    def head(self, target: str) -> Head:
        """Return the header block for calls to a target: the scheme, a space, the authority."""
        head = self._heads.get(target)
        if head is None:
            if len(self._heads) >= MOST_KEPT:
                self._heads.clear()
            head = self._heads[target] = self._head(target)
        return head

    def timed_head(self, target: str, timeout_s: float) -> Head:
        """Return the one that tells the timeout, too."""
        rounded = _two_digits(timeout_s)
        head = self._timed.get((target, rounded))
        if head is None:
            if len(self._timed) >= MOST_KEPT:
                self._timed.clear()
            timeout = ("grpc-timeout", _timeout(rounded))
            head = self._timed[target, rounded] = self._head(target, timeout)
        return head

    def beside(self, *fields: Field) -> Method:
        """Return the same procedure for one call with more metadata, or ValueError."""
        return OneCall(self, fields)

    def _head(self, target: str, *more: Field) -> Head:
        scheme, _, authority = target.partition(" ")
        fields = (
            (":method", "POST"),
            (":scheme", scheme),
            (":path", self.path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", USER_AGENT),
        )
        return Head(encode((*fields, *more, *self.metadata)))


class OneCall(Method):
    """A procedure with metadata that no other call has: its blocks are not kept, but built upon."""

    def __init__(self, method: Method, fields: Sequence[Field]) -> None:
        self.path = method.path
        self.tell_deadline = method.tell_deadline
        self.metadata = (*method.metadata, *fields)
        self._method = method
        self._fields = fields
        extended(b"", fields)  # raises now what would be raised later

    def head(self, target: str) -> Head:
        """Return the header block for the call to a target."""
        return Head(extended(self._method.head(target).block, self._fields))

    def timed_head(self, target: str, timeout_s: float) -> Head:
        """Return the one that tells the timeout, too."""
        return Head(extended(self._method.timed_head(target, timeout_s).block, self._fields))


def _two_digits(timeout_s: float) -> int:
    """Return microseconds, rounded up to two significant digits: few distinct values."""
    us = max(1, math.ceil(min(timeout_s * 1_000_000, _LONGEST_US)))
    scale = 1
    while us > 99 * scale:
        scale *= 10
    return -(-us // scale) * scale


def _timeout(us: int) -> str:
    for unit, size in (("S", 1_000_000), ("m", 1_000)):
        if us % size == 0:
            return f"{us // size}{unit}"
    return f"{us}u"  # less than a tenth of a second
