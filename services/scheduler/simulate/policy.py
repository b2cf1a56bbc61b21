"""What a scaling policy is asked, what it may know, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Observation(NamedTuple):
    """One model in one region at `t`; sums and means are since the policy was last asked.

    A tuple, as a policy that is asked every second gets a million of them. At the first call
    `seconds` is 0, and so are the sums and means.
    """

    t: float  # seconds from the start
    ready: int  # instances that take requests
    booting: int
    permits: int  # per instance
    in_flight: int  # now; those on instances that drain count, too
    queued: int  # now
    seconds: float  # since the last call
    arrivals: int
    served: int  # ended
    late: int  # became late: have waited 1 s for a permit
    dropped: int  # left after the longest wait; they had become late before
    mean_demand: float  # in flight and queued
    max_demand: int
    mean_service_s: float  # of those that ended; 0 where none did

    @property
    def demand(self) -> int:
        """Requests that want a permit now, whether they have one or wait for it."""
        return self.in_flight + self.queued


class Policy(Protocol):
    """Says how many instances there should be; made anew for each run."""

    @property
    def every_s(self) -> float:
        """How often it is asked, a whole number of seconds; the first time at 0."""
        ...

    def wanted(self, seen: Observation) -> int:
        """Return how many instances to have, ready and booting; the bounds are applied after."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is the same for every policy on a trace, and may be known before."""

    permits: int = 8
    boot_s: float = 120.0
    minimum: int = 1
    maximum: int = 1000
    slo: float = 0.003  # share of requests that may be late
    service_mean_s: float = 4.0
    peak: int = 1  # instances that the whole trace needs so that nobody waits; only for `static`


Values = Mapping[str, float]  # a configuration: the arguments of `Family.make`


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A policy's name with the configurations that may be chosen, the published one first."""

    name: str
    make: Callable[..., Policy]  # (terms, **configuration)
    configurations: tuple[Values, ...] = ({},)
