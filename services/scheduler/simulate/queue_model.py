"""The queue before the permits of ready instances: first come, first served, in steps of 1 s.

In a step first leaves whose service is over, then whoever has waited too long; then requests start
in the order of their arrival while permits are free. One whose service ends within the step that
it starts in holds no permit over. Who could not start in the step of arrival is late.

Most requests never wait, so the load's own demand is the base, the same for every policy; what is
kept is the difference to it: `_extra`, how many more are here than if nobody waited, and at which
steps that changes. A day without a queue costs as much as looking at it.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from services.scheduler.simulate.load import Load

VERY_LATE_S = 10
SHORT = 24  # steps up to which a look at each of them is cheaper than at all at once


class Queue:
    """Requests in flight and waiting; `run` goes on by some steps."""

    def __init__(self, load: Load, *, permits: int, max_wait_s: int, seed: int) -> None:
        """Begin empty; the seed is for which requests are on an instance that drains."""
        self.queued = self.late = self.very_late = self.dropped = self.longest_wait = 0
        self.late_by = np.zeros(load.seconds, np.int32)  # became late in each step
        self.draining = 0  # in flight on instances that drain
        self.demand = self.most_demand = self.demand_sum = 0
        self._load = load
        self._permits = permits
        self._max_wait_s = max_wait_s
        self._random = np.random.default_rng(seed)
        self._waiting: deque[list[int]] = deque()  # step of arrival, indices from and to
        size = load.seconds + load.longest + max_wait_s + 2
        self._extra = 0
        self._extra_by = np.zeros(size, np.int32)
        self._away_by = np.zeros(size, np.int32)
        self.ended, self.service_s = 0, 0.0  # of those who never wait, which is near enough
        self._ended_at = load.ended.data
        self._service_at = load.service_s.data
        self._ends_at = load.ends.data
        self._base_at = load.demand.data
        self._first_at = load.first.data
        self._extra_at = self._extra_by.data
        self._away_at = self._away_by.data

    def __repr__(self) -> str:
        """Tell what is here."""
        return f"<Queue demand={self.demand} queued={self.queued} dropped={self.dropped}>"

    def run(self, start: int, end: int, ready: int) -> None:
        """Go through the steps from `start` until before `end`, with so many instances."""
        room = ready * self._permits
        while start < end:
            if not self._waiting and end - start > SHORT:
                start = self._calm(start, end, room)
            if start < end:
                self._step(start, room)
                start += 1
        self.ended, self.service_s = self._ended_at[end], self._service_at[end]

    def end(self, t: int) -> None:
        """Have the waits of those who still wait counted."""
        for arrived, first, last in self._waiting:
            self._note_wait(t - arrived, last - first)

    def drain(self, t: int, ready: int, leaving: int) -> list[int]:
        """Take so many of the ready instances away, the least busy; return when each is empty."""
        here = self.demand - self.queued - self.draining
        each, more = divmod(here, ready)  # calls are spread evenly
        sizes = [each + (place >= ready - more) for place in range(leaving)]
        if not (taken := sum(sizes)):
            return [t] * leaving
        steps = np.arange(self._load.longest)
        left = np.repeat(steps, self.ending(t))  # of each request here, the steps that it has left
        chosen = self._random.permutation(left)[:taken]
        counts = np.bincount(chosen)
        self.draining += taken
        self._away_by[t : t + len(counts)] -= counts.astype(np.int32)
        parts = np.split(chosen, np.cumsum(sizes)[:-1])
        return [t + int(part.max(initial=0)) for part in parts]

    def ending(self, t: int) -> NDArray[np.int64]:
        """Return how many requests on ready instances end at each step from `t` on."""
        load = self._load
        several = load.longest
        begun = load.ends[load.first[max(0, t - several)] : load.first[t]]
        base = np.bincount(begun[begun >= t] - t, minlength=several)
        soon = slice(t, t + several)
        return base - self._extra_by[soon] + self._away_by[soon]

    def _calm(self, start: int, end: int, room: int) -> int:
        """Go on while nobody has to wait; return the step in which somebody has."""
        extra = self._extra + np.cumsum(self._extra_by[start:end])
        away = self.draining + np.cumsum(self._away_by[start:end])
        demand = self._load.demand[start:end] + extra
        crowded = demand - away > room if room else self._load.arrivals[start:end] > 0
        calm = int(crowded.argmax())
        if not crowded[calm]:
            calm = end - start
        if calm:
            self._extra, self.draining = int(extra[calm - 1]), int(away[calm - 1])
            self.demand = int(demand[calm - 1])
            self.demand_sum += int(demand[:calm].sum())
            self.most_demand = max(self.most_demand, int(demand[:calm].max()))
        return start + calm

    def _step(self, t: int, room: int) -> None:
        self._extra += self._extra_at[t]
        self.draining += self._away_at[t]
        demand = self._base_at[t] + self._extra
        if demand - self.draining > room or self._waiting or not room:
            self._crowded(t, room)
            demand = self._base_at[t] + self._extra
        self.demand = demand
        self.demand_sum += demand
        if demand > self.most_demand:
            self.most_demand = demand

    def _crowded(self, t: int, room: int) -> None:
        """Go through a step in which not everybody can start."""
        self._drop(t)
        first, last = self._first_at[t], self._first_at[t + 1]
        before = self._base_at[t] + self._extra - self.draining - self.queued
        if last > first:
            before -= sum(end > t for end in self._ends_at[first:last])
            self._waiting.append([t, first, last])
            self.queued += last - first
        if room:
            self._start(t, room - before)
        if self._waiting and self._waiting[-1][0] == t:
            self._delay(t, *self._waiting[-1][1:])

    def _start(self, t: int, free: int) -> None:
        """Start whoever is next, up to the first for whom there is no permit."""
        more = True
        while self._waiting and more:
            arrived, first, last = self._waiting[0]
            count, free = self._started(t, free)
            if count and arrived < t:
                self._note_wait(t - arrived, count)
            self._leave_line(count)
            more = first + count == last

    def _started(self, t: int, free: int) -> tuple[int, int]:
        """Start those of the head's second; return how many could, and the permits left."""
        arrived, first, last = self._waiting[0]
        waited, count = t - arrived, 0
        for end in self._ends_at[first:last]:
            if end > arrived:
                if free <= 0:
                    break
                free -= 1
                if waited:
                    self._extra_at[end + waited] -= 1
            elif waited:
                self._extra -= 1  # and ends in this step
            count += 1
        return count, free

    def _delay(self, t: int, first: int, last: int) -> None:
        """Have those who could not start when they came be late, and here for longer."""
        self.late_by[t] = last - first
        self.late += last - first
        for end in self._ends_at[first:last]:
            if end > t:
                self._extra_at[end] += 1
            else:
                self._extra += 1

    def _drop(self, t: int) -> None:
        """Let go of those who have waited as long as one does."""
        while self._waiting and t - self._waiting[0][0] >= self._max_wait_s:
            arrived, first, last = self._waiting[0]
            self._extra -= last - first
            self.dropped += last - first
            self._note_wait(t - arrived, last - first)
            self._leave_line(last - first)

    def _leave_line(self, count: int) -> None:
        self.queued -= count
        head = self._waiting[0]
        head[1] += count
        if head[1] == head[2]:
            self._waiting.popleft()

    def _note_wait(self, waited: int, count: int) -> None:
        self.longest_wait = max(self.longest_wait, waited)
        if waited >= VERY_LATE_S:
            self.very_late += count
