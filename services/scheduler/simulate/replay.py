"""A load replayed under a policy: it is asked, instances follow, requests are served or wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.scheduler.simulate.instances import Instances
from services.scheduler.simulate.load import Load
from services.scheduler.simulate.policy import Observation, Policy, Terms
from services.scheduler.simulate.queue_model import Queue

REPORT_S = 43_200  # how often progress is told
Told = Callable[[float], None]  # the share that is done


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What came of it; counts are those since the end of the warm-up."""

    requests: int
    late: int
    very_late: int
    dropped: int
    longest_wait_s: int
    scale_actions: int
    instances_started: int
    paid: NDArray[np.int64]  # instances in each second, from the start
    serving: NDArray[np.int64]
    late_by: NDArray[np.int32]  # who became late in each second, from the start
    paid_s: int
    decisions_ns: NDArray[np.int64]

    @property
    def instance_hours(self) -> float:
        """What it costs."""
        return self.paid_s / 3600

    @property
    def late_share(self) -> float:
        """Requests that waited at least 1 s, of all."""
        return self.late / max(self.requests, 1)

    @property
    def very_late_share(self) -> float:
        """Requests that waited at least 10 s, of all."""
        return self.very_late / max(self.requests, 1)


def replay(
    load: Load,
    policy: Policy,
    terms: Terms,
    *,
    max_wait_s: int = 60,
    seed: int = 1,
    told: Told = lambda share: None,
) -> Outcome:
    """Replay all of a load."""
    run = Replay(load, policy, terms, max_wait_s=max_wait_s, seed=seed)
    run.go_on(load.warmup_s)
    run.begin_to_count()
    while run.t < load.seconds:
        run.go_on(min(run.t + REPORT_S, load.seconds))
        told(run.t / load.seconds)
    return run.outcome()


class Replay:
    """One model under one policy, up to the second `t`."""

    def __init__(
        self, load: Load, policy: Policy, terms: Terms, *, max_wait_s: int, seed: int
    ) -> None:
        """Begin with the least number of instances, ready."""
        self.t = 0
        self.load = load
        self.queue = Queue(load, permits=terms.permits, max_wait_s=max_wait_s, seed=seed)
        boot_s = round(terms.boot_s)
        self.instances = Instances(seconds=load.seconds, ready=terms.minimum, boot_s=lambda: boot_s)
        self._policy, self._terms = policy, terms
        self._every_s = round(policy.every_s)
        self._next_ask = 0
        self._asked = _Sums(t=0, late=0, dropped=0, demand=0, served=0)
        self._first_at = load.first.data
        self._ended_at = load.ended.data
        self._service_at = load.service_s.data
        self._decisions_ns: list[int] = []
        self._uncounted = self._counts()

    def __repr__(self) -> str:
        """Tell how far it is."""
        return f"<Replay t={self.t}/{self.load.seconds} {self.instances!r} {self.queue!r}>"

    def go_on(self, until: int) -> None:
        """Go on to the second `until`."""
        queue, instances = self.queue, self.instances
        while self.t < until:
            if self.t == self._next_ask:
                self._ask()
            end = min(self._next_ask, until, instances.next_ready)
            queue.run(self.t, end, instances.ready)
            self.t = end
            if end == instances.next_ready:
                instances.settle(end)

    def begin_to_count(self) -> None:
        """Leave all that was so far out of the outcome."""
        self.queue.longest_wait = 0
        self._decisions_ns.clear()
        self._uncounted = self._counts()

    def outcome(self) -> Outcome:
        """Return what came of it."""
        self.queue.end(self.t)
        counts, before = self._counts(), self._uncounted
        paid = self.instances.paid()
        return Outcome(
            requests=counts.requests - before.requests,
            late=counts.late - before.late,
            very_late=counts.very_late - before.very_late,
            dropped=counts.dropped - before.dropped,
            longest_wait_s=self.queue.longest_wait,
            scale_actions=counts.actions - before.actions,
            instances_started=counts.started - before.started,
            paid=paid,
            serving=self.instances.serving(),
            late_by=self.queue.late_by,
            paid_s=int(paid[before.t : self.t].sum()),
            decisions_ns=np.array(self._decisions_ns, np.int64),
        )

    def _counts(self) -> _Counts:
        queue, instances = self.queue, self.instances
        return _Counts(
            t=self.t,
            requests=int(self.load.first[self.t]),
            late=queue.late,
            very_late=queue.very_late,
            dropped=queue.dropped,
            actions=instances.actions,
            started=instances.started,
        )

    def _ask(self) -> None:
        seen = self._observe()
        began = time.perf_counter_ns()
        wanted = self._policy.wanted(seen)
        self._decisions_ns.append(time.perf_counter_ns() - began)
        self._next_ask += self._every_s
        wanted = max(self._terms.minimum, min(wanted, self._terms.maximum))
        if wanted != seen.ready + seen.booting:
            self.instances.scale(self.t, wanted, self.queue.drain)

    def _observe(self) -> Observation:
        """Look at what is, and at what was since the last look."""
        t, queue, last = self.t, self.queue, self._asked
        demand, arrived = queue.demand, self._first_at[t]
        now = _Sums(
            t, queue.late, queue.dropped, queue.demand_sum, arrived - queue.dropped - demand
        )
        self._asked = now
        seconds = t - last.t
        ended = self._ended_at[t] - self._ended_at[last.t]
        most, queue.most_demand = queue.most_demand, 0
        return Observation(
            t,
            self.instances.ready,
            self.instances.booting,
            self._terms.permits,
            demand - queue.queued,
            queue.queued,
            seconds,
            arrived - self._first_at[last.t],
            now.served - last.served,
            now.late - last.late,
            now.dropped - last.dropped,
            (now.demand - last.demand) / seconds if seconds else 0.0,
            most,
            (self._service_at[t] - self._service_at[last.t]) / ended if ended else 0.0,
        )


class _Sums(NamedTuple):
    """Sums from the start up to when the policy was asked."""

    t: int
    late: int
    dropped: int
    demand: int
    served: int


class _Counts(NamedTuple):
    """What is counted, from the start."""

    t: int
    requests: int
    late: int
    very_late: int
    dropped: int
    actions: int
    started: int
