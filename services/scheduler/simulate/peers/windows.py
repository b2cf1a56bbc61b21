"""Means and maxima over the last seconds, kept as values arrive."""

from __future__ import annotations

from collections import deque

ROUNDING = 1e-9


class SlidingMean:
    """The mean over the last `span_s` seconds, each value weighed by how long it held."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._values: deque[tuple[float, float, float]] = deque()  # until, value * s, s
        self._sum = 0.0
        self._seconds = 0.0

    def __repr__(self) -> str:
        return f"<SlidingMean {self.value:g} of {self._seconds:g}/{self._span_s:g} s>"

    def add(self, value: float, seconds: float, until: float) -> float:
        """Take in what held for so many seconds until now, and return the mean."""
        self._values.append((until, value * seconds, seconds))
        self._sum += value * seconds
        self._seconds += seconds
        while self._values[0][0] <= until - self._span_s:
            _, weighed, length = self._values.popleft()
            self._sum -= weighed
            self._seconds -= length
        return self.value

    @property
    def value(self) -> float:
        """The mean; 0 before there is any, and where only what sums lose by rounding is left."""
        mean = self._sum / self._seconds if self._seconds else 0.0
        return mean if mean > ROUNDING else 0.0


class SlidingMax:
    """The largest value of the last `span_s` seconds, the one just added included."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._falling: deque[tuple[float, float]] = deque()  # when, value: each above the next

    def __repr__(self) -> str:
        return f"<SlidingMax of {self._span_s:g} s, {len(self._falling)} kept>"

    def add(self, value: float, at: float) -> float:
        """Take in a value, and return the largest."""
        falling = self._falling
        while falling and falling[-1][1] <= value:
            falling.pop()
        falling.append((at, value))
        while len(falling) > 1 and falling[0][0] <= at - self._span_s:
            falling.popleft()
        return falling[0][1]
