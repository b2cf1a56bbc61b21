"""Outliers: which endpoint is sick, for how long it is left alone, and how it comes back.

An endpoint is *healthy*; or *ejected*, with nothing sent to it until its backoff has passed and
a probe got through; or on *trial*, with one call at a time until some in a row went well.
What is judged by comparison is judged by what the model's other endpoints did meanwhile: where
all fail, or all are slow, it is the calls, and no endpoint is better than another. Nor is it the
endpoint's fault where one account's calls fail and others are answered (`witnesses`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from services.server.windows import SAMPLE_S, RollingSums
from services.server.witnesses import Witnesses

HEALTHY: Final = "healthy"
EJECTED: Final = "ejected"
TRIAL: Final = "trial"

LOST: Final = "lost"  # nobody answers there, or not for this model
DEAD: Final = "dead"  # the model's process is dead, which Triton tells those alone who call it
FAILING: Final = "failing"  # calls fail, or are not answered in time
SLOW: Final = "slow"  # calls take far longer than on the model's other endpoints
CAUSES: Final = (LOST, DEAD, FAILING, SLOW)
SUSPECTED: Final = (FAILING, SLOW)  # it may still serve: better than nothing

JITTER: Final = 0.2  # of each backoff, so that endpoints do not all come back at once
BY_CHANCE: Final = 1e-5  # failures in a row that chance brings so seldom are no chance
WEIGHT: Final = 0.1  # of the newest call in what is typical
MOST_AT_ONCE: Final = 4.0  # times what was typical is what one call counts for
LONGEST_DOUBLING: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on an endpoint is an outlier, and how it is treated; the server's settings."""

    failures_in_row: int = 5
    error_share: float = 0.5
    error_calls: int = 20
    unanswered_s: float = 1.0
    slow_factor: float = 5.0
    slow_calls: int = 10
    slow_s: float = 0.1
    window_s: float = 30.0
    backoff_s: float = 0.25
    outlier_backoff_s: float = 5.0
    longest_backoff_s: float = 10.0
    trials: int = 3
    panic_share: float = 0.25
    probe_failures: int = 2

    @property
    def samples(self) -> int:
        """How many samples a window has."""
        return max(1, round(self.window_s / SAMPLE_S))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """What an endpoint has done of late."""

    answered: int = 0
    failed: int = 0
    in_row: int = 0  # failures without an answer between them
    typical_us: float = 0.0  # how long its last calls took


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a probe has shown."""

    is_up: bool
    is_proven: bool = False  # the model itself has answered
    cause: str = LOST  # what to eject the endpoint for, if it is not up


def fails_in_row(mine: Recent, others: Sequence[Recent], limits: Limits) -> bool:
    """Whether an endpoint fails more often in a row than chance brings, where others do not."""
    return mine.in_row >= streak(_usual(others, limits), limits)


def fails_often(mine: Recent, others: Sequence[Recent], limits: Limits) -> bool:
    """Whether an endpoint fails too large a share of many calls, while the others do not."""
    calls = mine.answered + mine.failed
    often = calls >= limits.error_calls and mine.failed >= limits.error_share * calls
    return often and _usual(others, limits) < limits.error_share / 2


def _usual(others: Sequence[Recent], limits: Limits) -> float:
    """Return the share of calls that fails on the others; none where there is too little."""
    failed = sum(each.failed for each in others)
    theirs = sum(each.answered for each in others) + failed
    return failed / theirs if theirs >= limits.failures_in_row else 0.0


def streak(usual: float, limits: Limits) -> float:
    """Return how many failures in a row mean something, where this part of calls always fails."""
    if usual <= 0 or usual >= 1:
        return limits.failures_in_row if usual <= 0 else math.inf
    return max(limits.failures_in_row, math.log(BY_CHANCE) / math.log(usual))


def slow_from_us(others: Sequence[Recent], limits: Limits) -> float:
    """Return the typical time from which on an endpoint is slow beside the others."""
    typical = [each.typical_us for each in others if each.answered >= limits.slow_calls]
    if not typical:
        return math.inf
    usual = median(typical)
    return max(limits.slow_factor * usual, usual + limits.slow_s * 1_000_000)


def is_slow(mine: Recent, others: Sequence[Recent], limits: Limits) -> bool:
    """Whether an endpoint takes far longer than the others, with enough calls to tell."""
    return mine.answered >= limits.slow_calls and mine.typical_us > slow_from_us(others, limits)


def is_panic(healthy: int, all_: int, limits: Limits) -> bool:
    """Whether so few endpoints are healthy that those under suspicion are to be used, too."""
    return healthy < limits.panic_share * all_ or (healthy == 0 and all_ > 0)


def backoff_s(ejections: int, cause: str, limits: Limits, rng: random.Random) -> float:
    """Return how long an endpoint is left alone that was ejected so often before."""
    first = limits.outlier_backoff_s if cause in SUSPECTED else limits.backoff_s
    doubled = first * 2.0 ** min(ejections, LONGEST_DOUBLING)
    return min(doubled, limits.longest_backoff_s) * (1 + JITTER * (2 * rng.random() - 1))


class Condition:
    """How one endpoint is: what its calls and probes have shown, and what follows from it."""

    def __init__(self) -> None:
        self.state = HEALTHY
        self.cause = ""
        self.was = HEALTHY  # before its state last changed
        self.since = 0.0  # when that was
        self.retry_at = 0.0  # when its backoff has passed
        self.probe_at = 0.0  # when it is probed next; 0: not planned yet
        self.heard = 0  # answers, at the last look
        self.heard_at = 0.0  # when there were fewer; 0: nobody has looked yet
        self.ejections = 0  # one after another, without a good time between them
        self.is_gone = False  # since it was ejected it was seen to be dead, and not only cut off
        self.lives = 0  # how often it came back from that
        self.trials_left = 0
        self.slow_us = math.inf  # a trial that takes longer has failed
        self.misses = 0  # probes that failed, in a row
        self.puzzle = ""  # what a probe raised last, which is told once
        # As counters since it came, which `sample` looks at: a call adds, and no more.
        self.answered = 0
        self.failed = 0
        self.in_row = 0
        # Over the last calls and not over time: an endpoint that becomes slow answers fewer of
        # them, and its quick past would hide that for long. One long call hardly moves it.
        self.typical_us = 0.0
        self.witnesses = Witnesses()
        self._seen = (0, 0)
        self._window: RollingSums | None = None
        self._samples = 0

    def __repr__(self) -> str:
        cause = f" {self.cause}" if self.cause else ""
        return f"<Condition {self.state}{cause} ejections={self.ejections}>"

    def recent(self) -> Recent:
        """Return what it has done within its window, and since."""
        seen, sums = self._seen, self._window.sums if self._window else (0, 0)
        return Recent(
            answered=sums[0] + self.answered - seen[0],
            failed=sums[1] + self.failed - seen[1],
            in_row=self.in_row,
            typical_us=self.typical_us,
        )

    def sample(self, limits: Limits) -> None:
        """Let what has happened since the last sample be one more of its window."""
        if self._window is None:
            self._window = RollingSums(limits.samples, width=2)
        answered, failed = self._seen
        self._window.add((self.answered - answered, self.failed - failed))
        self._seen = (self.answered, self.failed)
        self._samples += 1
        if self._samples % limits.samples == 0:
            self.witnesses.fade()

    def succeeded(self, us: int, leased_at: float, account: str = "") -> bool:
        """Count a call that was answered; say whether that ends a trial."""
        self.answered += 1
        witnesses, at = self.witnesses, leased_at + us / 1_000_000
        if account == witnesses.last and not self.in_row:
            witnesses.last_calls.answered += 1
            witnesses.last_at = at
        else:
            witnesses.answered(account, at)
            self.in_row = 0
        usual = self.typical_us
        if not usual:
            self.typical_us = float(us)
        else:
            most = MOST_AT_ONCE * usual
            self.typical_us = usual + WEIGHT * ((us if us < most else most) - usual)
        if self.state != TRIAL or leased_at < self.since:
            return False
        if us > self.slow_us:
            self.trials_left = -1
        else:
            self.trials_left -= 1
        return self.trials_left <= 0

    def went_wrong(self, leased_at: float, account: str = "") -> bool:
        """Count a call that failed or was not answered; say whether that ends a trial."""
        self.failed += 1
        self.in_row += 1
        self.witnesses.failed(account)
        if self.state != TRIAL or leased_at < self.since:
            return False
        self.trials_left = -1
        return True

    def eject(self, cause: str, now: float, limits: Limits, rng: random.Random) -> None:
        """Leave it alone: twice as long as the last time, unless it did well for a while."""
        if self.state == HEALTHY and now - self.since > 2 * limits.longest_backoff_s:
            self.ejections = 0
        self._become(EJECTED, now)
        self.cause = cause
        self.retry_at = now + backoff_s(self.ejections, cause, limits, rng)
        self.ejections += 1

    def try_again(self, now: float, limits: Limits) -> None:
        """Let calls through one by one, until enough of them were answered."""
        self._become(TRIAL, now)
        self.trials_left = limits.trials

    def recover(self, now: float) -> None:
        """Take it back, with nothing held against it but how often it was ejected."""
        self._become(HEALTHY, now)
        self.cause = ""
        if self.is_gone:
            self.is_gone, self.lives = False, self.lives + 1
        self.slow_us = math.inf
        self.typical_us = 0.0
        if self._window is not None:
            self._window.clear()
        self.witnesses.clear()
        self._seen = (self.answered, self.failed)

    def _become(self, state: str, now: float) -> None:
        self.was, self.state, self.since = self.state, state, now
        self.in_row = self.misses = 0
        self.witnesses.begin_row()
