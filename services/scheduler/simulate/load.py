"""The load of a trace: when each request arrives, and how long its service takes.

Drawn once for all policies, so that they differ by what they do alone. Time goes in steps of 1 s.
A bin's requests are spread over its seconds as a Poisson process does it, given their number. A
service of X s takes floor(X + U) steps, U uniform, so that the mean is kept: on average as many
requests are in flight at the end of a step as there would be in continuous time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.scheduler.simulate.traces import Floats, Ints, Trace

CHUNK_S = 21_600  # drawn at once: what is random stays small beside what is kept
ARRIVALS, SERVICE = 1, 2  # streams of random numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLaw:
    """How long a service takes: lognormal, with this mean unless the trace has one, and cv."""

    mean_s: float = 4.0
    cv: float = 1.0

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return service times of mean 1."""
        variance = np.log1p(self.cv**2)  # of the logarithm
        normal = rng.standard_normal(count, dtype=np.float32)
        normal *= np.float32(np.sqrt(variance))
        normal -= np.float32(variance / 2)
        return np.exp(normal, out=normal)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Load:
    """A trace's requests, in the order of their arrival, and what they make if nobody waits."""

    name: str
    seconds: int
    warmup_s: int  # figures count from here
    arrivals: Ints  # in each second
    first: Ints  # the index of the first request of each second; one more at the end
    ends: NDArray[np.uint32]  # of each request: the step before which it has left
    demand: NDArray[np.int32]  # in flight at the end of each step
    ended: Ints  # before each second, and at the end
    service_s: Floats  # theirs, summed
    longest: int  # service, in steps
    service_mean_s: float

    def used(self) -> NDArray[np.int32]:
        """Return the demand, and at least 1 where anybody comes, if only for a part of a step."""
        return np.maximum(self.demand, (self.arrivals > 0).astype(np.int32))

    def peak(self, permits: int) -> int:
        """Return how many instances are needed so that nobody ever waits."""
        return max(1, -(-int(self.demand.max()) // permits))


def load_of(trace: Trace, service: ServiceLaw, *, warmup_s: int, seed: int) -> Load:
    """Draw a trace's requests."""
    arrivals = _arrivals(trace, np.random.default_rng([seed, ARRIVALS]))
    first = np.concatenate(([0], np.cumsum(arrivals)))
    drawn = _Drawn(trace.seconds, int(first[-1]))
    rng = np.random.default_rng([seed, SERVICE])
    means = np.where(np.isnan(trace.mean_service_s), service.mean_s, trace.mean_service_s)
    for start in range(0, trace.seconds, CHUNK_S):
        seconds = np.arange(start, min(start + CHUNK_S, trace.seconds))
        arrived = np.repeat(seconds, arrivals[seconds])
        took = service.draw(len(arrived), rng)
        took *= means[arrived // trace.bin_s].astype(np.float32)
        drawn.add(arrived, took, rng.random(len(arrived), dtype=np.float32))
    left = np.cumsum(drawn.ending)
    return Load(
        name=trace.name,
        seconds=trace.seconds,
        warmup_s=min(warmup_s, trace.seconds // 2),
        arrivals=arrivals,
        first=first,
        ends=drawn.ends,
        demand=(first[1:] - left[:-1]).astype(np.int32),
        ended=np.concatenate(([0], left[:-1])),
        service_s=np.concatenate(([0.0], np.cumsum(drawn.service_s)[:-1])),
        longest=drawn.longest,
        service_mean_s=drawn.total_s / len(drawn.ends),
    )


class _Drawn:
    """The requests of a trace, as they are drawn one piece after the other."""

    def __init__(self, seconds: int, requests: int) -> None:
        self.ends = np.empty(requests, np.uint32)
        self.ending = np.zeros(seconds + 1, np.int64)  # at each step; all later ones at the last
        self.service_s = np.zeros(seconds + 1)  # theirs
        self.total_s, self.longest = 0.0, 1
        self._count = 0

    def add(self, arrived: Ints, took: NDArray[np.float32], fractions: NDArray[np.float32]) -> None:
        """Add requests, by when they arrive, how long they take and what rounds that."""
        if not len(arrived):
            return
        steps = (took + fractions).astype(np.int64)
        until = arrived + steps
        self.ends[self._count : self._count + len(until)] = until
        self._count += len(until)
        begin = int(arrived[0])
        within = np.minimum(until, len(self.ending) - 1) - begin
        counts, sums = np.bincount(within), np.bincount(within, weights=took)
        self.ending[begin : begin + len(counts)] += counts
        self.service_s[begin : begin + len(sums)] += sums
        self.total_s += float(took.sum(dtype=np.float64))
        self.longest = max(self.longest, int(steps.max()))


def _arrivals(trace: Trace, rng: np.random.Generator) -> Ints:
    if trace.bin_s == 1:
        return trace.requests
    even = np.full(trace.bin_s, 1 / trace.bin_s)
    return rng.multinomial(trace.requests, even).reshape(-1)
