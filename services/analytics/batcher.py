"""When what has come in is written: by count, or when the oldest has waited long enough.

A store writes many events for little more than the price of one, so writes
are as rare as the age allows. Knows no clock: `now` is an argument.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPolicy:
    """How batches are grouped into writes."""

    # A write has about so many events: it ends with the batch that reaches them.
    write_events: int = 20_000
    # The longest that a batch waits for others. Acknowledgements wait with it.
    write_age_seconds: float = 0.2
    # From so many waiting events on, nobody may add more.
    waiting_events: int = 50_000


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[T]):
    item: T
    events: int
    since: float


class Batcher(Generic[T]):
    """The line of batches that wait to be written, in the order in which they came."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._line: deque[_Waiting[T]] = deque()
        self.events = 0

    def __repr__(self) -> str:
        return f"<Batcher batches={len(self._line)} events={self.events}>"

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be added for now."""
        return self.events >= self._policy.waiting_events

    @property
    def most_events(self) -> int:
        """Return from how many on nothing more may be added."""
        return self._policy.waiting_events

    def add(self, item: T, *, events: int, now: float) -> None:
        """Put a batch at the end of the line."""
        self._line.append(_Waiting(item, events, now))
        self.events += events

    def wait_seconds(self, now: float) -> float | None:
        """Return how long the next write may wait: 0 when it is due, None when there is none."""
        if not self._line:
            return None
        if self.events >= self._policy.write_events:
            return 0.0
        return max(0.0, self._line[0].since + self._policy.write_age_seconds - now)

    def take(self) -> list[T]:
        """Take the next write off the line."""
        write: list[T] = []
        events = 0
        while self._line and events < self._policy.write_events:
            waiting = self._line.popleft()
            write.append(waiting.item)
            events += waiting.events
        self.events -= events
        return write
