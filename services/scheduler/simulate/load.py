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

    def peak(self, permits: int) -> int:
        """Return how many instances are needed so that nobody ever waits."""
        return max(1, -(-int(self.demand.max()) // permits))


def load_of(trace: Trace, service: ServiceLaw, *, warmup_s: int, seed: int) -> Load:
    """Draw a trace's requests."""
    arrivals = _arrivals(trace, np.random.default_rng([seed, ARRIVALS]))
    first = np.concatenate(([0], np.cumsum(arrivals)))
    means = np.where(np.isnan(trace.mean_service_s), service.mean_s, trace.mean_service_s)
    rng = np.random.default_rng([seed, SERVICE])
    ends = np.empty(first[-1], np.uint32)
    ended = np.zeros(trace.seconds + 1, np.int64)
    served = np.zeros(trace.seconds + 1)
    total, longest = 0.0, 1
    for start in range(0, trace.seconds, CHUNK_S):
        seconds = np.arange(start, min(start + CHUNK_S, trace.seconds))
        arrived = np.repeat(seconds, arrivals[seconds])
        took = service.draw(len(arrived), rng)
        took *= means[arrived // trace.bin_s].astype(np.float32)
        steps = (took + rng.random(len(arrived), dtype=np.float32)).astype(np.int64)
        until = arrived + steps
        ends[first[start] : first[start] + len(arrived)] = until
        within = np.minimum(until, trace.seconds)
        ended += np.bincount(within, minlength=trace.seconds + 1)
        served += np.bincount(within, weights=took, minlength=trace.seconds + 1)
        total += float(took.sum(dtype=np.float64))
        longest = max(longest, int(steps.max(initial=0)))
    left = np.cumsum(ended)
    return Load(
        name=trace.name,
        seconds=trace.seconds,
        warmup_s=min(warmup_s, trace.seconds // 2),
        arrivals=arrivals,
        first=first,
        ends=ends,
        demand=(first[1:] - left[:-1]).astype(np.int32),
        ended=np.concatenate(([0], left[:-1])),
        service_s=np.concatenate(([0.0], np.cumsum(served)[:-1])),
        longest=longest,
        service_mean_s=total / len(ends),
    )


def _arrivals(trace: Trace, rng: np.random.Generator) -> Ints:
    if trace.bin_s == 1:
        return trace.requests
    even = np.full(trace.bin_s, 1 / trace.bin_s)
    return rng.multinomial(trace.requests, even).reshape(-1)
