"""The signal: what a model had to do in each minute, as calls that want a permit.

    x = load                    while there are free permits
    x = arrivals / s * service  while all are taken, and at least what is in flight

`load`, the mean of calls in flight and queued, is what is measured best; with all permits taken it
says how long the queue has grown, and no more what is asked for (Little's law still does). What
is in flight bounds it from below: of calls that take minutes, a span of seconds sees few arrive.
Unit of x: permits. Source: reference measurements of priced quantiles; Little (1961).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from services.scheduler.deciding.values import Span

MINUTE_S = 60.0
SERVICE_HALF_LIFE = 200.0  # calls; after as many the older half of the estimate is forgotten
USUAL_SERVICE_S = 1.0  # before anything has ended
LEAST_SERVICE_S = 1e-3
MOST = 1e6  # permits, calls or seconds: what is beyond is an error of measurement
_SLACK_S = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """A minute that is over; `index` counts minutes since 1970."""

    index: int
    load: float  # x
    arrivals: float
    late: float
    variance: float = 0.0  # of the spans' x within the minute
    span_s: float = 60.0  # how long a span was


@dataclass(slots=True)
class Service:
    """Mean seconds of service, over the last few hundred calls."""

    seconds: float = 0.0

    def add(self, span: Span) -> None:
        """Take in what ended in a span."""
        if span.service_s <= 0:
            return
        if self.seconds <= 0:
            self.seconds = span.service_s
        kept = 0.5 ** (max(span.arrivals, 1.0) / SERVICE_HALF_LIFE)
        self.seconds = kept * self.seconds + (1 - kept) * span.service_s

    @property
    def known(self) -> float:
        """The estimate, or what is usual as long as there is none."""
        return max(self.seconds, LEAST_SERVICE_S) if self.seconds > 0 else USUAL_SERVICE_S


def sound(span: Span) -> Span:
    """Return the span without what cannot be: no NaN, nothing negative or beyond all measure."""
    values = (
        *(span.load, span.arrivals, span.late),
        *(span.service_s, span.saturated, span.in_flight),
    )
    if span.seconds > 0 and all(0 <= each <= MOST for each in values):
        return span

    def fixed(value: float) -> float:
        return min(max(value, 0.0), MOST) if math.isfinite(value) else 0.0

    return replace(
        span,
        seconds=max(fixed(span.seconds), 1e-3),
        load=fixed(span.load),
        arrivals=fixed(span.arrivals),
        late=fixed(span.late),
        service_s=fixed(span.service_s),
        saturated=fixed(span.saturated),
        in_flight=fixed(span.in_flight),
    )


def demand(span: Span, service_s: float) -> float:
    """Return x of a span."""
    if span.saturated <= 0 or span.seconds <= 0:
        return max(span.load, 0.0)
    asked = span.arrivals / span.seconds * service_s
    full = min(span.saturated, 1.0)
    known = min(max(asked, span.in_flight), span.load)
    return max((1 - full) * span.load + full * known, 0.0)


@dataclass(slots=True)
class Gathering:
    """Adds spans up to minutes of the clock."""

    index: int = -1
    seconds: float = 0.0
    spans: int = 0
    load_s: float = 0.0
    squares_s: float = 0.0
    arrivals: float = 0.0
    late: float = 0.0

    def add(self, span: Span, load: float) -> Minute | None:
        """Take in a span with its x; return the minute that ends with it, or ended before it."""
        middle = span.until - span.seconds / 2
        index = math.floor(middle / MINUTE_S)
        done = None
        if self.seconds > 0 and index > self.index:
            done = self._end()
        self.index = index
        self.seconds += span.seconds
        self.spans += 1
        self.load_s += load * span.seconds
        self.squares_s += load * load * span.seconds
        self.arrivals += span.arrivals
        self.late += span.late
        if done is None and span.until >= (index + 1) * MINUTE_S - _SLACK_S:
            done = self._end()
        return done

    def _end(self) -> Minute:
        mean = self.load_s / self.seconds
        minute = Minute(
            index=self.index,
            load=mean,
            arrivals=self.arrivals,
            late=self.late,
            variance=max(self.squares_s / self.seconds - mean * mean, 0.0),
            span_s=self.seconds / self.spans,
        )
        self.spans = 0
        self.seconds = self.load_s = self.squares_s = self.arrivals = self.late = 0.0
        return minute
