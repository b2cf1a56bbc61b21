"""The queue before engines that generate text, in place of the one with given service times.

Requests wait for a permit, first come, first served; then for an engine that reads their prompt,
each reads one at a time; then they write, all of an engine together. They are spread evenly over
the ready engines, also over one that has just become ready. Time goes in quarters of a second;
within one it is exact when a prompt has been read and a text is written. A request is late that
waits too long for its first token, or for the others on average.

All who write get tokens at one pace, so a counter says how many anyone has had who was there all
the time, and a heap who is through next; likewise for prompts. So a request costs the same
however many there are.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from services.scheduler.simulate.engine import Engine
from services.scheduler.simulate.load import Load
from services.scheduler.simulate.tokens import Tokens

PART_S = 0.25
VERY_LATE_S = 10


@dataclass(slots=True)
class _Cohort:
    """Those who arrived in a second and wait for a permit."""

    arrived: int
    first: int
    last: int
    late: bool = False  # counted as such


class _Request(NamedTuple):
    """One that has a permit."""

    done: float  # what the counter of its phase says when it is through; 0: not begun
    number: int
    arrived: int
    admitted: float
    late: bool
    first_token: float = 0.0  # when; 0: it is still read


class EngineQueue:
    """Requests waiting, read and written; `run` goes on by some steps of 1 s."""

    def __init__(
        self,
        load: Load,
        *,
        tokens: Tokens,
        engine: Engine,
        permits: int,
        max_wait_s: int,
        seed: int,
    ) -> None:
        """Begin empty; the seed is for which requests are on an instance that drains."""
        self.queued = self.late = self.very_late = self.dropped = self.longest_wait = 0
        self.late_by = np.zeros(load.seconds, np.int32)  # became late in each step
        self.demand = self.most_demand = self.demand_sum = 0
        self.ended, self.service_s = 0, 0.0  # the time with a permit
        self._engine, self._permits, self._max_wait_s = engine, permits, max_wait_s
        self._random = np.random.default_rng(seed)
        self._first_at = load.first.data
        self._reads, self._writes = tokens.read.data, tokens.written.data
        self._waiting: deque[_Cohort] = deque()
        self._unread: deque[_Request] = deque()  # have a permit, and no engine that reads
        self._reading: list[_Request] = []  # heap
        self._writing: list[_Request] = []  # heap
        self._leaving: list[tuple[float, _Request]] = []  # heap, by their end: on draining engines
        self._have_read = self._have_written = 0.0  # tokens, by anyone who was always there

    def __repr__(self) -> str:
        """Tell what is here."""
        return f"<EngineQueue demand={self.demand} queued={self.queued} dropped={self.dropped}>"

    @property
    def inside(self) -> int:
        """Those with a permit of a ready engine."""
        return len(self._unread) + len(self._reading) + len(self._writing)

    def run(self, start: int, end: int, ready: int) -> None:
        """Go through the steps from `start` until before `end`, with so many instances."""
        for t in range(start, end):
            first, last = self._first_at[t], self._first_at[t + 1]
            if last > first:
                self._waiting.append(_Cohort(t, first, last))
                self.queued += last - first
            for now in (t, t + PART_S, t + 2 * PART_S, t + 3 * PART_S):
                self._part(now, ready)
            self.demand = self.queued + self.inside + len(self._leaving)
            self.demand_sum += self.demand
            self.most_demand = max(self.most_demand, self.demand)

    def end(self, t: int) -> None:
        """Count who is late by the end of all, and how long they waited who have no token yet."""
        self._look_at_line(t)
        for cohort in self._waiting:
            self._waited(t - cohort.arrived, cohort.last - cohort.first)
        for request in (*self._unread, *self._reading):
            waited = t - request.arrived
            if not request.late and waited >= self._engine.ttft_s:
                self._be_late(t, 1)
            self._waited(waited, 1)

    def drain(self, t: int, ready: int, leaving: int) -> list[int]:
        """Take so many of the ready instances away, the least busy; return when each is empty."""
        each, more = divmod(self.inside, ready)
        sizes = [each + (place >= ready - more) for place in range(leaving)]
        requests = [*self._unread, *self._reading, *self._writing]
        order = self._random.permutation(len(requests))[: sum(sizes)]
        chosen = [requests[place] for place in order]
        self._forget({request.number for request in chosen})
        empty = []
        for size in sizes:
            ends = [self._let_go(chosen.pop(), t, writing=size) for _ in range(size)]
            empty.append(math.ceil(max(ends, default=t)))
        return empty

    def _forget(self, numbers: set[int]) -> None:
        self._unread = deque(each for each in self._unread if each.number not in numbers)
        self._reading = [each for each in self._reading if each.number not in numbers]
        self._writing = [each for each in self._writing if each.number not in numbers]
        heapq.heapify(self._reading)
        heapq.heapify(self._writing)

    def _let_go(self, request: _Request, t: int, *, writing: int) -> float:
        """Have a request go on where nobody follows; return when it ends."""
        if request.first_token:
            left = request.done - self._have_written
            end = t + left * self._engine.step(writing)
        else:
            left = request.done - self._have_read if request.done else self._reads[request.number]
            request = self._begun(request, t + left / self._engine.reads(writing), 0.0)
            end = request.first_token + request.done * self._engine.step(writing)
        heapq.heappush(self._leaving, (end, request))
        return end

    def _part(self, now: float, ready: int) -> None:
        """Go through a part of a second."""
        while self._leaving and self._leaving[0][0] <= now:
            end, request = heapq.heappop(self._leaving)
            self._end(request, end)
        if self._waiting:
            self._look_at_line(now)
            self._admit(now, ready * self._permits - self.inside)
        if not ready or not self.inside:
            return
        writing = len(self._writing) / ready
        through, share = self._read_on(now, ready, self._engine.reads(writing))
        plain, beside = self._engine.step(writing), self._engine.step_beside(writing)
        pace = (1 - share) / plain + share / beside
        for request, at in through:
            counter = self._have_written + (at - now) * pace
            heapq.heappush(self._writing, self._begun(request, at, counter))
        self._write_on(now, pace)

    def _look_at_line(self, now: float) -> None:
        """Let go of those who have waited as long as one does, and count who becomes late."""
        while self._waiting and now - self._waiting[0].arrived >= self._max_wait_s:
            gone = self._waiting.popleft()
            count = gone.last - gone.first
            self._be_late(now, 0 if gone.late else count)
            self._waited(self._max_wait_s, count)
            self.queued -= count
            self.dropped += count
        for cohort in self._waiting:
            if now - cohort.arrived < self._engine.ttft_s:
                break
            if not cohort.late:
                cohort.late = True
                self._be_late(now, cohort.last - cohort.first)

    def _admit(self, now: float, free: int) -> None:
        """Give permits to whoever is next."""
        while free > 0 and self._waiting:
            cohort = self._waiting[0]
            count = min(free, cohort.last - cohort.first)
            for number in range(cohort.first, cohort.first + count):
                self._unread.append(_Request(0.0, number, cohort.arrived, now, cohort.late))
            free -= count
            self.queued -= count
            cohort.first += count
            if cohort.first == cohort.last:
                self._waiting.popleft()

    def _read_on(
        self, now: float, ready: int, rate: float
    ) -> tuple[list[tuple[_Request, float]], float]:
        """Read at that rate; return who is through and when, and the share of time spent so."""
        start = at = self._have_read
        until = start + rate * PART_S
        through: list[tuple[_Request, float]] = []
        read = 0.0
        while self._unread or self._reading:
            while self._unread and len(self._reading) < ready:
                request = self._unread.popleft()
                done = at + self._reads[request.number]
                heapq.heappush(self._reading, request._replace(done=done))
            mark = min(self._reading[0].done, until)
            read += len(self._reading) * (mark - at)
            at = mark
            if at == until:
                break
            through.append((heapq.heappop(self._reading), now + (at - start) / rate))
        self._have_read = until
        return through, min(1.0, read / (ready * rate * PART_S))

    def _write_on(self, now: float, pace: float) -> None:
        """Write at that pace, and let go of who is through."""
        until = self._have_written + pace * PART_S
        while self._writing and self._writing[0].done <= until:
            request = heapq.heappop(self._writing)
            self._end(request, now + (request.done - self._have_written) / pace)
        self._have_written = until

    def _begun(self, request: _Request, at: float, counter: float) -> _Request:
        """Return a request that has its first token."""
        waited = at - request.arrived
        late = request.late or waited > self._engine.ttft_s
        if late and not request.late:
            self._be_late(at, 1)
        self._waited(waited, 1)
        done = counter + self._writes[request.number] - 1
        return request._replace(done=done, first_token=at, late=late)

    def _end(self, request: _Request, at: float) -> None:
        others = self._writes[request.number] - 1
        if not request.late and at - request.first_token > others * self._engine.itl_s:
            self._be_late(at, 1)
        self.ended += 1
        self.service_s += at - request.admitted

    def _be_late(self, at: float, count: int) -> None:
        self.late += count
        self.late_by[min(int(at), len(self.late_by) - 1)] += count

    def _waited(self, seconds: float, count: int) -> None:
        self.longest_wait = max(self.longest_wait, int(seconds))
        if seconds >= VERY_LATE_S:
            self.very_late += count
