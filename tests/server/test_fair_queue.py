"""The fair queue: shares by weight, order within an account, and who goes when it is full."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.catalog import AccountShare
from services.server.fair_queue import FairQueue, Place
from services.server.standings import Standings
from tests.fakes import a_request

Queue = FairQueue[Place]


def standings(**weights: float) -> Standings:
    made = Standings()
    made.configure({name: AccountShare(weight=weight) for name, weight in weights.items()})
    return made


def a_place(
    account: str,
    cost: int = 1,
    priority: int = 5,
    of: Standings | None = None,
    background: bool = False,
) -> Place:
    request = a_request(account=account, cost=cost, priority=priority, background=background)
    return Place(request, of.named.get(account) if of else None)


def serve(queue: Queue) -> Place:
    line = queue.next_line(())
    assert line is not None
    place = line.calls[0]
    queue.serve(place, place.cost)
    return place


def fill(queue: Queue, limit: int, *places: Place) -> list[Place]:
    """Add all, and return whom the bound made leave."""
    gone = []
    for each in places:
        queue.add(each)
        gone += queue.trim(limit, each)
    return gone


@given(
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 5.0]), min_size=2, max_size=5),
    costs=st.lists(st.integers(1, 8), min_size=1, max_size=30),
    turns=st.integers(1, 120),
)
def test_accounts_that_always_wait_are_never_further_apart_than_one_call_each(
    weights: list[float], costs: list[int], turns: int
) -> None:
    names = [f"a{at}" for at in range(len(weights))]
    known = standings(**dict(zip(names, weights, strict=True)))
    queue: Queue = FairQueue()
    served: Counter[str] = Counter()
    came = 0

    def come(name: str) -> None:
        nonlocal came
        queue.add(a_place(name, costs[came % len(costs)], of=known))
        came += 1

    for name in names * 2:
        come(name)
    for _ in range(turns):
        place = serve(queue)
        served[place.request.account] += place.cost
        come(place.request.account)
        got = [served[name] / weight for name, weight in zip(names, weights, strict=True)]
        bounds = [max(costs) / weight for weight in weights]
        for one, one_bound in zip(got, bounds, strict=True):
            for other, other_bound in zip(got, bounds, strict=True):
                assert one - other <= one_bound + other_bound + 1e-9


@given(
    calls=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=40),
    leave=st.sets(st.integers(0, 39)),
)
def test_within_an_account_calls_go_by_priority_then_by_age(
    calls: list[tuple[str, int]], leave: set[int]
) -> None:
    queue: Queue = FairQueue()
    places = [a_place(account, priority=priority) for account, priority in calls]
    for each in places:
        queue.add(each)
    for at in leave & set(range(len(places))):
        assert queue.remove(places[at])
    stay = [each for at, each in enumerate(places) if at not in leave]

    order = [serve(queue) for _ in stay]

    for name in "ab":
        ours = [each for each in stay if each.request.account == name]
        ours.sort(key=lambda each: -each.request.priority)  # keeps the age
        assert [each for each in order if each.request.account == name] == ours
    assert (queue.size, queue.cost, queue.lines) == (0, 0, {})


@settings(max_examples=200)
@given(
    limit=st.integers(0, 12),
    calls=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), max_size=60),
)
def test_the_bound_holds_and_only_one_call_may_be_more_than_its_part(
    limit: int, calls: list[tuple[str, int]]
) -> None:
    known = standings(a=1.0, b=1.0, c=2.0)
    queue: Queue = FairQueue()

    for account, cost in calls:
        place = a_place(account, cost, of=known)
        gone = fill(queue, limit, place)
        assert queue.cost <= limit
        assert queue.size == len(queue.everyone())
        if place in gone:
            assert gone == [place]  # nobody leaves for a call that has no room after all
        line = queue.lines.get(account)
        if place not in gone and line is not None and len(line.calls) > 1:
            weights = sum(each.weight for each in queue.lines.values())
            assert line.cost <= limit * line.weight / weights


def test_a_flood_has_its_part_while_others_wait_and_all_when_alone() -> None:
    queue: Queue = FairQueue()

    refused = fill(queue, 8, *[a_place("flood") for _ in range(20)])
    pushed = fill(queue, 8, *[a_place("quiet") for _ in range(6)])

    assert len(refused) == 12
    assert Counter(each.request.account for each in pushed) == {"flood": 4, "quiet": 2}
    assert {name: line.cost for name, line in queue.lines.items()} == {"flood": 4, "quiet": 4}


def test_who_is_pushed_out_is_the_last_of_the_lowest_priority() -> None:
    queue: Queue = FairQueue()
    low, high = a_place("a", priority=1), a_place("a", priority=9)

    gone = fill(queue, 2, low, a_place("a"), high)

    assert gone == [low]


def test_a_call_too_large_for_the_queue_pushes_nobody_out() -> None:
    queue: Queue = FairQueue()
    fill(queue, 3, *[a_place("a") for _ in range(3)])
    huge = a_place("b", 4)

    assert fill(queue, 3, huge) == [huge]
    assert queue.lines["a"].cost == 3


def test_changed_weights_count_for_who_waits_already() -> None:
    queue, known = Queue(), standings(a=1, b=1)
    fill(queue, 1000, *[a_place(name, of=known) for _ in range(50) for name in "ab"])
    serve(queue)

    known.configure({"a": AccountShare(weight=9), "b": AccountShare(weight=1)})
    queue.configure(known.named)

    served = Counter(serve(queue).request.account for _ in range(20))
    assert served["a"] >= 17
    assert all(each.standing is known.named["a"] for each in queue.lines["a"].calls)


def test_an_account_that_is_named_again_still_holds_what_it_held() -> None:
    known = standings(a=1)
    held = known.named["a"]
    held.in_use = 2

    known.configure({})
    known.configure({"a": AccountShare(maximum=2)})

    assert known.named["a"] is held
    assert not known.named["a"].may_hold(1)


def test_who_comes_new_begins_where_the_others_are() -> None:
    queue: Queue = FairQueue()
    for _ in range(20):
        queue.add(a_place("old"))
    for _ in range(10):
        serve(queue)
    for _ in range(10):
        queue.add(a_place("new"))

    order = "".join(serve(queue).request.account[0] for _ in range(6))

    assert sorted(order[:2]) == sorted(order[2:4]) == ["n", "o"]


def test_who_leaves_and_comes_again_at_once_does_not_begin_anew() -> None:
    queue: Queue = FairQueue()
    for _ in range(6):
        queue.add(a_place("steady"))
    queue.add(a_place("hops", 4))
    order = []
    for _ in range(6):
        place = serve(queue)
        order.append(place.request.account)
        if place.request.account == "hops":
            queue.add(a_place("hops", 4))

    assert order.count("hops") <= 2
    assert order.count("steady") >= 4


def test_what_costs_nothing_is_not_counted_against_a_share() -> None:
    queue: Queue = FairQueue()
    first, second = a_place("a", 4), a_place("a", 1)
    for each in (first, second, a_place("b")):
        queue.add(each)

    queue.serve(first, 0)

    assert serve(queue) is second


@pytest.mark.parametrize(
    ("account", "calls", "permits"),
    [("a", 4, 5.0), ("b", 6, 7.0), ("c", 6, 7.0), ("new", 3, 4.0)],
    ids=["one waits of it", "larger ones wait", "twice the weight", "none waits of it"],
)
def test_a_call_has_before_it_what_fairness_lets_before_it(
    account: str, calls: int, permits: float
) -> None:
    known = standings(a=1.0, b=1.0, c=2.0)
    queue: Queue = FairQueue()
    for place in (a_place("a", of=known), a_place("b", 2, of=known)):
        queue.add(place)
    for _ in range(4):
        queue.add(a_place("c", of=known))
    weight = known.named[account].weight if account in known.named else 1.0

    assert queue.before(a_request(account=account), weight) == (calls, permits)


def test_what_is_in_the_background_is_served_when_nobody_else_waits() -> None:
    queue: Queue = FairQueue()
    last = a_place("a", priority=9, background=True)
    others = [a_place("b"), a_place("a"), a_place("b")]
    for each in (last, *others):
        queue.add(each)

    served = [serve(queue) for _ in range(4)]

    assert {*served[:3]} == {*others}
    assert served[3] is last
    assert (queue.size, queue.cost, queue.lines) == (0, 0, {})


def test_background_calls_are_fair_to_one_another() -> None:
    queue: Queue = FairQueue()
    for account in "aab":
        queue.add(a_place(account, background=True))

    assert [serve(queue).request.account for _ in range(3)] == ["a", "b", "a"]


def test_where_the_room_runs_out_what_is_in_the_background_leaves_first() -> None:
    queue: Queue = FairQueue()
    kept = [a_place("a"), a_place("b")]
    behind = [a_place("a", background=True), a_place("c", background=True)]

    assert not fill(queue, 4, *kept, *behind)
    newcomer, late, another = a_place("a"), a_place("d", background=True), a_place("b")

    gone = fill(queue, 4, newcomer)
    assert fill(queue, 4, late) == [late]
    gone += fill(queue, 4, another)

    assert {*gone} == {*behind}
    assert {*queue.everyone()} == {*kept, newcomer, another}


def test_a_background_call_has_all_others_before_it_and_is_before_none() -> None:
    queue: Queue = FairQueue()
    for each in (a_place("a", 2), a_place("b", 3), a_place("b", background=True)):
        queue.add(each)

    ours = a_request(account="c", background=True)
    assert queue.before(ours, 1.0) == (3, 6.0)
    assert queue.before(a_request(account="a"), 1.0) == (2, 5.0)
