"""A series: one model in one region, with its history and its decisions.

`observe` takes in every few seconds what happened, `decide` sizes every minute, and `floor` looks
in between whether the load has left what the minute's decision was made for. Nothing here reads a
clock or does I/O: the live loop and the simulator run the very same code.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from services.scheduler.deciding import damping, floor, prior, sizing
from services.scheduler.deciding.signal import Gathering, Service, demand
from services.scheduler.deciding.values import Decision, Situation, Span

FORMAT = 1
_KEPT_MINUTES = 3


class Series:
    """Observes and decides; its state goes to bytes and comes back from them."""

    def __init__(self) -> None:
        self._service = Service()
        self._gathering = Gathering()
        self._recent = floor.Recent()
        self._damping = damping.Damping()
        self._loads: list[float] = []  # x of the last minutes
        self._last_call = -math.inf
        self._required: Decision | None = None

    def __repr__(self) -> str:
        load = self._loads[-1] if self._loads else 0.0
        return f"<Series load={load:.1f} service={self._service.known:.2f}s>"

    def observe(self, span: Span) -> None:
        """Take in what happened in the last seconds."""
        self._service.add(span)
        load = demand(span, self._service.known)
        self._recent.add(span.seconds, load)
        if span.arrivals > 0 or span.load > 0:
            self._last_call = span.until
        if (minute := self._gathering.add(span, load)) is not None:
            self._loads = [*self._loads[1 - _KEPT_MINUTES :], minute.load]

    def decide(self, now: Situation) -> Decision:
        """Size anew, once a minute."""
        smoothed = self._smoothed()
        loads = prior.quantiles(smoothed)
        instances = sizing.candidates(loads, now.permits)
        risks = sizing.risk(instances, loads, prior.SHARES, now.permits, self._service.known)
        price = 0.5
        best = int(sizing.cheapest(instances, risks, np.array([price]))[0])
        load = self._loads[-1] if self._loads else self._recent.mean
        ready = max(now.ready, 1) * now.permits
        self._required = Decision(
            at=now.at,
            instances=int(instances[best]),
            required=int(instances[best]),
            load=load,
            service_s=self._service.known,
            measured=load / ready,
            estimated=math.expm1(smoothed) / ready,
            forecast=float(loads[-4]) / ready,
            probabilities=tuple(prior.PROBABILITIES.tolist()),
            quantiles=tuple(loads.tolist()),
            price=price,
            late_share=float(risks[best]) * self._service.known / max(60 * load, 1e-9),
        )
        return self._limited(self._required, now)

    def floor(self, now: Situation) -> Decision:
        """Look at the last seconds; sizes anew where nothing has been decided yet."""
        if self._required is None:
            return self.decide(now)
        return self._limited(self._required, now)

    def _smoothed(self) -> float:
        loads = self._loads or [self._recent.mean]
        return float(np.mean(np.log1p(loads[-_KEPT_MINUTES:])))

    def _limited(self, made: Decision, now: Situation) -> Decision:
        """Apply floor, damping, keep-alive and bounds to a requirement, in this order."""
        wanted, reasons = made.required, list[str]()

        def at_least(instances: int, reason: str) -> None:
            nonlocal wanted
            if instances > wanted:
                wanted = instances
                reasons.append(reason)

        usual = math.expm1(self._smoothed())
        recent = self._recent.mean
        at_least(floor.floor(recent, usual, now.permits), f"the last 10 s had {recent:.1f}")
        held_s = damping.hold_s(now.boot_s)
        at_least(self._damping.largest(now.at, wanted, held_s), f"needed within {held_s:.0f} s")
        if now.at - self._last_call <= now.keep_alive_s:
            at_least(1, f"kept alive for {now.keep_alive_s:.0f} s after the last call")
        at_least(now.min, f"the minimum is {now.min}")
        if wanted > now.max:
            wanted = now.max
            reasons.append(f"the maximum is {now.max}")
        return replace(made, at=now.at, instances=wanted, reasons=tuple(reasons))

    def to_bytes(self) -> bytes:
        """Return the state, to be kept over a restart."""
        file = io.BytesIO()
        np.savez_compressed(
            file,
            format=np.array(FORMAT),
            service=np.array(self._service.seconds),
            last_call=np.array(self._last_call),
            loads=np.array(self._loads),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Series:
        """Return the series that was kept; raises ValueError for what is none, or too old."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as kept:
                arrays = dict(kept)
            return cls._restored(arrays)
        except Exception as error:  # whatever a damaged archive raises
            raise ValueError(f"no kept series: {error}") from error

    @classmethod
    def _restored(cls, arrays: Mapping[str, np.ndarray]) -> Series:
        if int(arrays["format"]) != FORMAT:
            raise ValueError(f"format {int(arrays['format'])}, not {FORMAT}")
        series = cls()
        series._service.seconds = float(arrays["service"])
        series._last_call = float(arrays["last_call"])
        series._loads = [float(each) for each in arrays["loads"]]
        return series
