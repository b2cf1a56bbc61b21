"""How many permits an endpoint can bear, by what its answers take: a gradient limit.

After Gradient2 of Netflix' concurrency-limits (Gradient2Limit.java). Answers are measured in
windows. With `short` what they took in the last window on average, and `long` what they
usually take, a window changes the limit by

    gradient = clamp(TOLERANCE * long / short, 0.5, 1)
    limit = (1 - SMOOTHING) * limit + SMOOTHING * (gradient * limit + room)

unless fewer than half of the permits were in use: such a window tells nothing of the limit.
So the limit falls while answers take clearly longer than usual, by a tenth per window at most,
and grows by a share of `room` while they do not. It differs from its model in three points:

- `room` is half the square root of the limit. Four, as there, is too much for what a GPU takes
  at once: a limit below eight could never fall.
- What takes longer than TOLERANCE allows teaches `long` next to nothing while many permits are
  in use, or to be overcommitted would become the usual within minutes.
- Where it takes longer with the limit at 1, too, the model itself has become slower, for one
  call alone overcommits nothing: then `long` learns fast, until it is no longer exceeded.

A model that becomes slower by itself, but not by so much that the limit falls to 1, is left
with too few permits until less is asked of it for a while.
"""

from __future__ import annotations

import math
from typing import Final

WINDOW_S: Final = 1.0  # a window is at least so long,
WINDOW_ANSWERS: Final = 10  # and has so many answers
TOLERANCE: Final = 1.5
STEEPEST: Final = 0.5
SMOOTHING: Final = 0.2
LEARN_FIRST: Final = 10  # windows of which `long` is the plain mean
LEARN: Final = 2 / 601  # weight of a window in `long`: the mean of 600 windows, as there
LEARN_ALONE: Final = 0.1
DOUBTFUL: Final = 0.02  # of LEARN, for a window in which answers took too long


class GradientLimit:
    """The limit of one endpoint: from 1 to `most`, where it begins."""

    __slots__ = (
        "_answers",
        "_began",
        "_busiest",
        "_is_slower",
        "_took",
        "limit",
        "long_s",
        "most",
        "windows",
    )

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self.long_s = 0.0
        self.windows = 0
        self._is_slower = False  # the model itself, and not by what is asked of it
        self._answers = 0
        self._busiest = 0
        self._took = 0.0
        self._began = 0.0

    def __repr__(self) -> str:
        return f"<GradientLimit {self.limit:.1f}/{self.most} long={self.long_s * 1000:.1f} ms>"

    @property
    def permits(self) -> int:
        """The limit as a number of permits."""
        return max(1, min(self.most, int(self.limit + 0.5)))

    def bound(self, most: int) -> None:
        """Go up to so many permits from now on; what was at its bound stays there."""
        if self.limit == self.most or self.limit > most:
            self.limit = float(most)
        self.most = most

    def answered(self, took_s: float, in_use: int, now: float) -> bool:
        """Take in what one answer took, with so many permits in use; whether a window ended."""
        if not self._answers:
            self._began = now - took_s
        self._answers += 1
        self._took += took_s
        self._busiest = max(self._busiest, in_use)
        if self._answers < WINDOW_ANSWERS or now - self._began < WINDOW_S:
            return False
        short_s, busiest = self._took / self._answers, self._busiest
        self._answers, self._took, self._busiest = 0, 0.0, 0
        self.update(short_s, busiest)
        return True

    def update(self, short_s: float, busiest: int) -> None:
        """Move the limit by what one window showed."""
        self._learn(short_s, busiest)
        if short_s <= 0 or busiest < self.limit / 2:
            return
        gradient = max(STEEPEST, min(1.0, TOLERANCE * self.long_s / short_s))
        wanted = self.limit * gradient + math.sqrt(self.limit) / 2
        limit = self.limit * (1 - SMOOTHING) + wanted * SMOOTHING
        self.limit = max(1.0, min(float(self.most), limit))

    def _learn(self, short_s: float, busiest: int) -> None:
        self.windows += 1
        is_long = short_s > TOLERANCE * self.long_s
        self._is_slower = is_long and (self._is_slower or self.permits == 1)
        weight = LEARN
        if self.windows <= LEARN_FIRST:
            weight = 1 / self.windows
        elif self._is_slower:
            weight = LEARN_ALONE
        elif is_long and busiest >= self.limit / 2:
            weight = LEARN * DOUBTFUL
        self.long_s += weight * (short_s - self.long_s)
        if self.long_s > 2 * short_s:  # it was overcommitted for long, and is no longer
            self.long_s *= 0.95
