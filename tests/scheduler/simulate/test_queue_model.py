"""The queue against a simulation that follows each request by itself."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.simulate.queue_model import Queue
from tests.scheduler.simulate.loads import Request, load

MAX_WAIT_S = 7
SECONDS = 60
LONGEST_S = 12

some_requests = st.lists(
    st.tuples(st.integers(0, SECONDS - 1), st.integers(0, LONGEST_S)), min_size=1, max_size=150
)
some_instances = st.lists(st.integers(0, 4), min_size=SECONDS, max_size=SECONDS)


@dataclass
class Slowly:
    """What the queue does, one request at a time."""

    waits: Counter[int] = field(default_factory=Counter)
    demands: list[int] = field(default_factory=list)
    late: int = 0
    dropped: int = 0

    def run(self, requests: Sequence[Request], ready: Sequence[int], permits: int) -> None:
        held: list[int] = []
        waiting: deque[Request] = deque()
        for t in range(SECONDS):
            held = [end for end in held if end > t]
            while waiting and t - waiting[0][0] >= MAX_WAIT_S:
                waiting.popleft()
                self.dropped += 1
            waiting += [each for each in requests if each[0] == t]
            while waiting and ready[t]:
                arrived, steps = waiting[0]
                if steps and len(held) >= ready[t] * permits:
                    break
                waiting.popleft()
                self.waits[t - arrived] += 1
                held += [t + steps] if steps else []
            self.late += sum(1 for each in waiting if each[0] == t)
            self.demands.append(len(held) + len(waiting))


@settings(max_examples=150, deadline=None)
@given(some_requests, st.lists(st.integers(0, 2), min_size=SECONDS, max_size=SECONDS), st.data())
def test_it_does_what_happens_to_each_request(
    requests: list[Request], more: list[int], data: st.DataObject
) -> None:
    requests = sorted(requests, key=lambda each: each[0])
    # instances only come: which requests are on one that goes is a matter of chance
    ready = [min(4, sum(more[: t // 8 : 3])) for t in range(SECONDS)]
    stops = [*data.draw(st.sets(st.integers(1, SECONDS - 1), max_size=20)), SECONDS]
    slowly = Slowly()
    slowly.run(requests, ready, permits=2)

    queue = Queue(load(requests, seconds=SECONDS), permits=2, max_wait_s=MAX_WAIT_S, seed=1)
    start = 0
    for stop in _with_changes(stops, ready):
        queue.run(start, stop, ready[start])
        assert queue.demand == slowly.demands[stop - 1]
        start = stop

    assert queue.demand_sum == sum(slowly.demands)
    assert queue.most_demand == max(slowly.demands)
    assert queue.late == queue.late_by.sum() == slowly.late
    assert queue.dropped == slowly.dropped
    assert queue.longest_wait == max([*slowly.waits, MAX_WAIT_S * (slowly.dropped > 0)])


def _with_changes(stops: Sequence[int], ready: Sequence[int]) -> list[int]:
    changes = {t for t in range(1, SECONDS) if ready[t] != ready[t - 1]}
    return sorted(changes | set(stops))


@settings(max_examples=100, deadline=None)
@given(some_requests, some_instances, st.integers(1, 3))
def test_nothing_is_lost_when_instances_come_and_go(
    requests: list[Request], ready: list[int], permits: int
) -> None:
    after = MAX_WAIT_S + LONGEST_S + 1
    all_of_it = load(requests, seconds=SECONDS + after)
    queue = Queue(all_of_it, permits=permits, max_wait_s=MAX_WAIT_S, seed=1)
    have = ready[0]
    for t, wanted in enumerate(ready):
        if wanted < have:
            on_ready = queue.demand - queue.queued - queue.draining
            assert queue.ending(t).min() >= 0
            assert queue.ending(t).sum() == on_ready
            empty = queue.drain(t, have, have - wanted)
            assert len(empty) == have - wanted
            assert t <= min(empty) <= max(empty) <= t + LONGEST_S
        have = wanted
        queue.run(t, t + 1, have)
        assert 0 <= queue.demand - queue.queued - queue.draining <= have * permits
    queue.run(SECONDS, SECONDS + after, 4)

    assert (queue.demand, queue.queued, queue.draining) == (0, 0, 0)
    assert queue.dropped <= queue.late <= len(requests)


def test_those_on_an_instance_that_drains_end_there() -> None:
    queue = Queue(
        load([(0, 2), (0, 3), (0, 5), (0, 7)], seconds=20), permits=2, max_wait_s=9, seed=1
    )
    queue.run(0, 1, 2)

    (empty,) = queue.drain(1, 2, 1)

    assert queue.draining == 2
    assert empty in (3, 5, 7)  # the later of two of them
    queue.run(1, empty, 1)
    assert queue.draining == 1
    queue.run(empty, empty + 1, 1)
    assert queue.draining == 0


def test_the_least_busy_instances_go_first() -> None:
    queue = Queue(load([(0, 5)] * 4, seconds=20), permits=2, max_wait_s=9, seed=1)
    queue.run(0, 1, 3)

    assert queue.drain(1, 3, 2) == [5, 5]  # 1, 1 and 2 of them

    assert queue.draining == 2
