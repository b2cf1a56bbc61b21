"""The forecast: experts, mixture, prior and cap, put together minute by minute.

    Q_p <= max(1.25 * the week's maximum, 1.6 x + 3 sqrt(x) + 2)

keeps a tail fitted to little from asking for what has never been. The ridge is fitted anew every
day, the experts' tables every hour, each at a minute that depends on `phase`, so that a fleet's
work is spread.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from services.scheduler.deciding import experts, features, prior, ridge
from services.scheduler.deciding.keeping import Arrays
from services.scheduler.deciding.minutes import DAY, KEPT, WEEK, Floats, Minutes
from services.scheduler.deciding.mixture import Mixture, mixed

HOUR = 60


class Forecast:
    """Learns from each minute, and says the quantiles of the target."""

    def __init__(self, *, phase: int = 0) -> None:
        self.minutes = Minutes()
        self.mixture = Mixture(len(experts.NAMES))
        self.weights: Floats = np.zeros(len(experts.NAMES))
        self._phase = phase
        self._horizon = 0
        self._ridge: ridge.Ridge | None = None
        self._tables: experts.Tables | None = None
        self._fitted = self._fitted_of = 0  # the minute of the last fit, and of how many
        self._read_at = self._read_of = 0
        self._week_peak = 0.0
        self._said: deque[tuple[int, Floats]] = deque()  # the minute it was said after, and what

    def __repr__(self) -> str:
        return f"<Forecast {self.minutes!r} {self.mixture!r}>"

    def learn(self, index: int, load: float) -> None:
        """Take in a minute, and score what was said of the target that it completes."""
        self.minutes.add(index, load)
        while self._said and self._said[0][0] + self._horizon <= self.minutes.last:
            after, said = self._said.popleft()
            start = after + 1 - self.minutes.first
            if start > 0:
                came = self.minutes.logs[start : start + self._horizon].max()
                self.mixture.score(said, math.expm1(float(came)))

    def quantiles(self, horizon: int, service_s: float) -> Floats:
        """Return the quantiles of the largest load within `horizon` minutes: (P,)."""
        minutes = self.minutes
        if horizon == self._horizon and minutes.count:
            self._refresh()
        self.prepare(horizon)
        guess = prior.quantiles(minutes.smoothed, service_s)
        if self._tables is None:
            self.weights = np.zeros(len(experts.NAMES))
            return guess
        said = experts.quantiles(self._tables, minutes, *self._expected())
        if not self._said or self._said[-1][0] < minutes.last:
            self._said.append((minutes.last, said))
        self.weights = self.mixture.weights(said)
        part = prior.share(minutes.count - horizon)
        return np.minimum(part * guess + (1 - part) * mixed(said, self.weights), self._cap())

    def _expected(self) -> tuple[float, float]:
        """Return the ridge's centre and scale after the newest minute, and keep them."""
        if self._ridge is None:
            return math.nan, math.nan
        minutes = self.minutes
        centres, scales = self._ridge.predict(
            features.matrix(minutes, minutes.count - 1, self._horizon)
        )
        centre, scale = float(centres[0]), float(scales[0])
        minutes.expect(centre, scale)
        return centre, scale

    def _cap(self) -> float:
        load = self.minutes.load
        self._week_peak = max(self._week_peak, load)
        return max(1.25 * self._week_peak, 1.6 * load + 3 * math.sqrt(load) + 2)

    def prepare(self, horizon: int) -> None:
        """Learn all that the kept minutes tell about a horizon, unless that is known already."""
        if horizon == self._horizon:
            return
        self._horizon = horizon
        self._said.clear()
        self._fit()
        if self._ridge is not None:
            start = max(self.minutes.count - horizon - WEEK, 0)  # of what the experts read
            found = self._ridge.predict(features.matrix(self.minutes, start, horizon))
            self.minutes.expected[:, start:] = found
        self._read()

    def _refresh(self) -> None:
        """Fit and read again what is due; early on, as what is known has grown by half."""
        due, count = self.minutes.last + self._phase, self.minutes.count
        if due // DAY != self._fitted // DAY or 1.5 * self._fitted_of <= count < DAY:
            self._fit()
        if due // HOUR != self._read_at // HOUR or 1.5 * self._read_of <= count < DAY:
            self._read()

    def _fit(self) -> None:
        self._fitted, self._fitted_of = self.minutes.last + self._phase, self.minutes.count
        self._ridge = ridge.fit(self.minutes, self._horizon)

    def _read(self) -> None:
        self._read_at, self._read_of = self.minutes.last + self._phase, self.minutes.count
        self._tables = experts.learn(self.minutes, self._horizon)
        self._week_peak = self.minutes.peak(WEEK)

    def kept(self) -> Arrays:
        """Return what is kept over a restart."""
        return {
            "first": np.array(self.minutes.last + 1 - min(self.minutes.count, KEPT)),
            "logs": self.minutes.packed(),
            "losses": self.mixture.losses,
            "counts": self.mixture.counts,
        }

    def restore(self, arrays: Arrays) -> None:
        """Take in what `kept` returned."""
        self.minutes.unpack(int(arrays["first"]), arrays["logs"])
        if arrays["losses"].shape == arrays["counts"].shape == self.mixture.losses.shape:
            self.mixture.losses = arrays["losses"]
            self.mixture.counts = arrays["counts"]
