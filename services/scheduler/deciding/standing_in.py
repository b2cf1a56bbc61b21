"""The stand-in: what decides for a series whose history is still to be read after a restart.

    n = max(what there is, the reactive floor of an unknown load)

Nothing goes, whatever is kept may know better; more come only for what the last 10 s need. What
it is told is told to the series, too, as soon as that is back. Unit: instances.
"""

from __future__ import annotations

from collections import deque

from services.scheduler.deciding import floor
from services.scheduler.deciding.signal import Service, demand, sound
from services.scheduler.deciding.values import Decision, Situation, Span

MOST_SPANS = 720  # an hour of them


class StandIn:
    """Observes, and decides by what it sees alone."""

    def __init__(self) -> None:
        self.spans: deque[Span] = deque(maxlen=MOST_SPANS)
        self.boot_s = 0.0  # of the last situation
        self._service = Service()
        self._recent = floor.Recent()

    def __repr__(self) -> str:
        return f"<StandIn {len(self.spans)} spans>"

    def observe(self, span: Span) -> None:
        """Take in what happened in the last seconds."""
        self.spans.append(span)
        span = sound(span)
        self._service.add(span)
        self._recent.add(span.seconds, demand(span, self._service.known))

    def decide(self, now: Situation) -> Decision:
        """Keep what there is, and add what the last seconds need."""
        self.boot_s = now.boot_s
        recent = self._recent.mean
        sudden = floor.floor(recent, 0.0, now.permits)
        kept = max(now.current, sudden)
        share = recent / (max(now.ready, 1) * now.permits)
        reasons = (
            (True, "its history is being read: what there is stays"),
            (sudden > now.current, f"the last 10 s had {recent:.1f}"),
            (kept < now.min, f"the minimum is {now.min}"),
            (max(kept, now.min) > now.max, f"the maximum is {now.max}"),
        )
        return Decision(
            at=now.at,
            instances=min(max(kept, now.min), now.max),
            required=sudden,
            load=recent,
            service_s=self._service.known,
            measured=share,
            estimated=share,
            forecast=share,
            reasons=tuple(text for applies, text in reasons if applies),
        )
