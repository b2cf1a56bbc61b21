"""A series: one model in one region, with its history and its decisions.

`observe` takes in every few seconds what happened, `decide` sizes every minute, and `floor` looks
in between whether the load has left what the minute's decision was made for. Nothing here reads a
clock or does I/O: the live loop and the simulator run the very same code.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from services.scheduler.deciding import (
    damping,
    experts,
    floor,
    keeping,
    residuals,
    sizing,
    surge,
    target,
)
from services.scheduler.deciding.forecast import Forecast
from services.scheduler.deciding.guard import Guard
from services.scheduler.deciding.idle import Idle, keep_alive
from services.scheduler.deciding.minutes import Floats
from services.scheduler.deciding.peaked import Peakedness
from services.scheduler.deciding.price import PRICES, Price, Terms
from services.scheduler.deciding.signal import (
    MINUTE_S,
    Gathering,
    Minute,
    Service,
    demand,
    sound,
)
from services.scheduler.deciding.values import Decision, Situation, Span
from services.scheduler.deciding.worth import spared

_PROBABILITIES = tuple(residuals.PROBABILITIES.tolist())


class Series:
    """Observes and decides; `phase` (minutes) says when its refits are due within day and hour."""

    def __init__(self, *, phase: int = 0) -> None:
        self.forecast = Forecast(phase=phase)
        self.price = Price()
        self.guard = Guard()
        self.idle = Idle()
        self.peaked = Peakedness()
        self.service = Service()
        self.last_call = -math.inf
        self._gathering = Gathering()
        self._recent = floor.Recent()
        self._damping = damping.Damping()
        self._surges = damping.Damping()
        self._terms: Terms | None = None
        self._made: Decision | None = None
        self._last: tuple[Decision, Decision] | None = None  # as required, and as limited
        self._usual = 0.0  # the smoothed load
        self._keep_s = 0.0  # the keep-alive
        self._here = 0.0  # in flight and queued, while all permits are taken

    def __repr__(self) -> str:
        return f"<Series {self.forecast.minutes!r} {self.price!r}>"

    def observe(self, span: Span) -> None:
        """Take in what happened in the last seconds."""
        span = sound(span)
        self.service.add(span)
        load = demand(span, self.service.known)
        self._here = span.load if span.saturated > 0 else 0.0
        self._recent.add(span.seconds, load)
        if span.arrivals > 0 or span.load > 0:
            self.last_call = span.until
        if (minute := self._gathering.add(span, load)) is not None:
            self._learn(minute)

    def _learn(self, minute: Minute) -> None:
        self.forecast.learn(minute.index, minute.load)
        self.guard.learn(self.forecast.minutes)
        self._usual = math.expm1(self.forecast.minutes.smoothed)
        self.peaked.learn(
            minute.load, minute.variance, span_s=minute.span_s, service_s=self.service.known
        )
        if self._terms is not None:
            self._price(minute, self._terms)

    def _price(self, minute: Minute, terms: Terms) -> None:
        """Replay a minute; calls that no instance was there for are the keep-alive's matter."""
        if terms.min == 0:
            self.idle.learn(minute, terms.horizon)
            is_cold = self.idle.is_cold(minute.index, self._keep_s / MINUTE_S)
            minute = replace(minute, late=0.0 if is_cold else minute.late)
            terms = replace(terms, min=1)
        self.price.learn(minute, terms)

    def decide(self, now: Situation) -> Decision:
        """Size anew; once a minute."""
        if self._made is None:
            self._resume(now)
        last = 0 if self._terms is None else self._terms.horizon
        horizon = target.horizon(now.boot_s, last)
        self._terms = terms = _terms(now, self.service.known, self.peaked.z, horizon)
        self._keep_s = self._keep_alive(now)
        loads = self.forecast.quantiles(terms.horizon, terms.service_s)
        instances = sizing.candidates(loads, now.permits, terms.z)
        risks = sizing.risk(
            instances, loads, residuals.SHARES, now.permits, terms.service_s, terms.z
        )
        price = self.price.now(now.slo, now.aim)
        best = sizing.cheapest(instances, risks, np.append(PRICES, price))
        self.price.record(instances[best[:-1]], taken=price)
        self._made = self._described(now, loads, instances[best[-1]], risks[best[-1]])
        return self._limited(self._made, now)

    def floor(self, now: Situation) -> Decision:
        """Look at the last seconds; the same decision as before where they change nothing."""
        return self.decide(now) if self._made is None else self._limited(self._made, now)

    def _resume(self, now: Situation) -> None:
        """Take what there is already for needed, and called: what was kept may be minutes old."""
        if now.current:
            self.last_call = max(self.last_call, now.at)
            self._damping.largest(now.at, now.current, damping.MOST_S)

    def prepare(self, boot_s: float) -> None:
        """Do what the first decision would take long for."""
        self.forecast.prepare(target.horizon(boot_s))

    def _keep_alive(self, now: Situation) -> float:
        if now.keep_alive_s is not None:
            return now.keep_alive_s
        return self.idle.minutes(now.slo, now.aim) * MINUTE_S

    def spared(self, count: int) -> Floats:
        """Return how many late calls a minute 0, 1, ... `count` instances spare, once known."""
        if self._terms is None or self._made is None or count < 1:
            return np.zeros(0)
        loads, terms = np.array(self._made.quantiles), self._terms
        return spared(loads, residuals.SHARES, terms.permits, terms.service_s, count)

    def _described(
        self, now: Situation, loads: Floats, required: np.float64, risk: np.float64
    ) -> Decision:
        minutes, service_s = self.forecast.minutes, float(self.service.known)
        ready = max(now.ready, 1) * now.permits
        covered = int(np.searchsorted(loads, required * now.permits, side="right"))
        calls = float(residuals.SHARES @ loads) * MINUTE_S / service_s
        return Decision(
            at=now.at,
            instances=int(required),
            required=int(required),
            load=minutes.load,
            service_s=service_s,
            measured=minutes.load / ready,
            estimated=self._usual / ready,
            forecast=float(loads[max(covered - 1, 0)]) / ready,
            probabilities=_PROBABILITIES,
            quantiles=tuple(loads.tolist()),
            weights=tuple(zip(experts.NAMES, self.forecast.weights.tolist(), strict=True)),
            price=self.price.taken,
            late_share=min(float(risk / calls), 1.0) if calls > 0 else 0.0,
        )

    def _limited(self, made: Decision, now: Situation) -> Decision:
        """Apply what may change a requirement; return the last decision where nothing does."""
        recent = self._recent.mean
        held_s = damping.hold_s(now.boot_s)
        held = self.guard.instances(int(now.at // MINUTE_S), now.permits)
        held = min(held, now.ready + now.booting)  # what is there stays; nothing is started for it
        sudden = floor.floor(recent, self._usual, now.permits, self.peaked.z)
        pressed = max(made.required, held, sudden)
        stays = self._damping.largest(now.at, pressed, held_s)
        idle_s = now.at - self.last_call
        surged = max(stays, self._surges.largest(now.at, self._surge(now), damping.LEAST_S))
        kept = surged if now.min else keep_alive(surged, idle_s=idle_s, keep_s=self._keep_s)
        instances = min(max(kept, now.min), now.max)
        last = self._last
        if last is not None and last[0] is made and last[1].instances == instances:
            return last[1]
        reasons = (
            (
                held > made.required,
                f"the load fell for the first time, from {self.guard.level:.1f}",
            ),
            (sudden > max(made.required, held), f"the last 10 s had {recent:.1f}"),
            (stays > pressed, f"{stays} were needed within {held_s:.0f} s"),
            (surged > stays, f"{surged} work off the calls that wait, or waited just now"),
            (kept != surged, f"kept for {self._keep_s:.0f} s after a call: {idle_s:.0f} s now"),
            (kept < now.min, f"the minimum is {now.min}"),
            (max(kept, now.min) > now.max, f"the maximum is {now.max}"),
        )
        told = tuple(text for applies, text in reasons if applies)
        found = replace(made, at=now.at, instances=instances, reasons=told)
        self._last = made, found
        return found

    def _surge(self, now: Situation) -> int:
        """Return the instances that work a queue off; 0 where there is none."""
        serving = now.ready * now.permits
        if self._here <= serving:
            return 0
        load, service_s = self._recent.mean, self.service.known
        waiting = surge.waiting(self._here - serving, load, serving, now.boot_s, service_s)
        minutes = surge.boot_minutes(now.boot_s)
        more = surge.extra(self.price.taken, load, waiting, now.permits, minutes)
        return math.ceil((load + more) / now.permits)

    def to_bytes(self) -> bytes:
        """Return the state, to be kept over a restart."""
        return keeping.pack(
            {
                "service": np.array(self.service.seconds),
                "last_call": np.array(self.last_call),
                "peaked": np.array(self.peaked.median),
                "held": np.array(self._damping.kept).reshape(-1, 2),
                **self.forecast.kept(),
                **self.price.kept(),
                **self.guard.kept(),
                **self.idle.kept(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, *, phase: int = 0) -> Series:
        """Return the series that was kept; raises ValueError for what is none."""
        arrays = keeping.unpack(data)
        series = cls(phase=phase)
        try:
            series.service.seconds = float(arrays["service"])
            series.last_call = float(arrays["last_call"])
            series.peaked.median = float(arrays["peaked"])
            series._damping.kept.extend((float(at), int(n)) for at, n in arrays["held"])
            series.forecast.restore(arrays)
            series.price.restore(arrays)
            series.guard.restore(arrays)
            series.idle.restore(arrays)
            series._usual = math.expm1(series.forecast.minutes.smoothed)
        except (KeyError, TypeError) as error:
            raise ValueError(f"a kept series without {error}") from error
        return series


def _terms(now: Situation, service_s: float, z: float, horizon: int) -> Terms:
    return Terms(
        permits=now.permits,
        service_s=service_s,
        z=z,
        horizon=horizon,
        hold=round(damping.hold_s(now.boot_s) / MINUTE_S),
        boot_minutes=surge.boot_minutes(now.boot_s),
        min=now.min,
        max=now.max,
    )
