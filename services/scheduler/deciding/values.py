"""What a series is told, and what it answers: values that the live loop and the simulator share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What a model in a region went through in the seconds before `until`.

    Calls count where they came from: one that was refused, or sent on to another region for want
    of a permit, is an arrival here, and late.
    """

    until: float  # s since 1970 in UTC: the time of day counts
    seconds: float
    load: float  # mean of the calls in flight and queued
    arrivals: float
    late: float = 0.0  # waited 1 s or more for a permit, or never got one
    service_s: float = 0.0  # mean seconds of service of the calls that ended; 0: none did
    saturated: float = 0.0  # share of the time in which all permits were taken
    in_flight: float = 0.0  # of the load, what ran: less than that is never asked for, if known


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What there is at a moment, and what operators ask for."""

    at: float  # s since 1970 in UTC
    ready: int
    booting: int
    permits: int  # of one instance
    boot_s: float  # from the decision to the first call served
    current: int = 0  # instances that there should be as of now, whoever said so
    min: int = 0
    max: int = 100
    slo: float = 0.003  # share of calls that may wait 1 s or more
    aim: float = 1.0  # share of the SLO aimed at
    keep_alive_s: float | None = None  # after the last call, where min is 0; None: as the SLO asks


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How many instances there should be, and everything that led to it.

    `required` is what sizing found; `instances` is what is left of it after guard, floor,
    damping and bounds, and `reasons` has a sentence for each of them that changed it.
    """

    at: float
    instances: int
    required: int
    load: float  # x: mean in flight and queued, or arrivals times service when saturated
    service_s: float
    measured: float  # load per ready permit
    estimated: float  # smoothed load per ready permit
    forecast: float  # the load that the requirement covers, per ready permit
    probabilities: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()  # of the largest load until a later decision helps
    weights: tuple[tuple[str, float], ...] = ()  # of the experts in the mixture
    price: float = 0.0  # instance-minutes that one late call is worth
    late_share: float = 0.0  # expected with `required` instances
    reasons: tuple[str, ...] = ()
