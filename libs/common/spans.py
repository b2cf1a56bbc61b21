"""Spans: something that took a while, as OpenTelemetry knows it, made once it is over.

Nothing of a span is kept while it lasts but two numbers, its beginning and its id; all the rest
is known at its end.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from msgspec import Struct

from libs.common.trace_context import new_span_id, new_trace_id

Attribute = str | bool | int | float
NO_ATTRIBUTES: Final[Mapping[str, Attribute]] = {}
# Kinds, numbered as in the protocol.
INTERNAL: Final = 1
SERVER: Final = 2
CLIENT: Final = 3
LOOK_S: Final = 1.0  # between two looks at both clocks
STEP_NS: Final = 1_000_000  # clocks that differ by more have been set


class Attributes:
    """What many spans say alike, and the bytes of that once they are made."""

    __slots__ = ("values", "written")

    def __init__(self, values: Mapping[str, Attribute]) -> None:
        self.values = {name: value for name, value in values.items() if value not in ("", None)}
        self.written = b""

    def __repr__(self) -> str:
        return f"<Attributes {self.values}>"


class Span(Struct, frozen=True, kw_only=True, gc=False):
    """Something that took a while."""

    name: str
    trace_id: str
    span_id: str
    began_ns: int  # since 1970
    ended_ns: int
    parent_id: str = ""  # empty: it began its trace
    kind: int = INTERNAL
    state: str = ""  # the trace's
    attributes: Mapping[str, Attribute] = NO_ATTRIBUTES
    shared: Attributes | None = None  # more of them
    has_failed: bool = False
    error: str = ""  # why, where that is known


class Spans(Protocol):
    """Where spans go."""

    def emit(self, span: Span) -> None:
        """Have it sent to the collector; never waits, never raises."""
        ...


class NoSpans:
    """Takes spans where there is no collector."""

    def emit(self, span: Span) -> None:
        """Drop it."""


def alone(
    name: str,
    *,
    began_ms: int,
    ended_ms: int,
    attributes: Mapping[str, Attribute] = NO_ATTRIBUTES,
    error: str = "",
) -> Span:
    """Return a span that is a trace of its own; `error` says why it failed, if it did."""
    rng = random.SystemRandom()
    return Span(
        name=name,
        trace_id=new_trace_id(rng),
        span_id=new_span_id(rng),
        began_ns=began_ms * 1_000_000,
        ended_ns=ended_ms * 1_000_000,
        attributes=attributes,
        has_failed=bool(error),
        error=error,
    )


class WallClock:
    """Turns monotonic seconds into nanoseconds since 1970, the same way for all spans near by.

    Two clocks that are read one after the other differ a little each time; a child must not seem
    to begin before its parent for that. So what was found is kept until the wall's clock is set.
    """

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._unix_ns = unix_ns
        self._ahead_ns = self._look()
        self._look_at = 0.0

    def __repr__(self) -> str:
        return f"<WallClock ahead={self._ahead_ns} ns>"

    def unix_ns(self, seconds: float) -> int:
        """Return when that was."""
        if seconds >= self._look_at:
            self._look_at = seconds + LOOK_S
            ahead_ns = self._look()
            if abs(ahead_ns - self._ahead_ns) > STEP_NS:
                self._ahead_ns = ahead_ns
        return self._ahead_ns + int(seconds * 1e9)

    def _look(self) -> int:
        """Return how far the one is ahead of the other: by the look that was interrupted least."""

        def once() -> int:
            before = self._monotonic_ns()
            return self._unix_ns() - before

        return min(once() for _ in range(3))
