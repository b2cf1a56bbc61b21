"""Selection: what is held near by, else the better of two, and any two are drawn."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.server.endpoints import Endpoint
from services.server.selection import choose
from tests.fakes import a_request


def endpoints(*in_flight: int, concurrency: int = 4) -> list[Endpoint]:
    return [
        Endpoint(instance=str(number), address="a:1", concurrency=concurrency, in_flight=busy)
        for number, busy in enumerate(in_flight)
    ]


def chosen(of: list[Endpoint], *, times: int = 600, **wants: object) -> Counter[str]:
    rng, request = random.Random(1), a_request(**wants)
    found = [choose(of, request=request, rng=rng) for _ in range(times)]
    return Counter(f"{each[0].instance} {each[1]}" if each else "none" for each in found)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_equals_are_chosen_equally(count: int) -> None:
    found = chosen(endpoints(*[1] * count), times=1000)

    assert len(found) == count
    assert all(abs(times - 1000 / count) < 100 for times in found.values())


def test_of_two_the_emptier_is_always_taken() -> None:
    assert chosen(endpoints(2, 1)) == {"1 emptier": 600}


def test_the_fullest_of_many_is_never_taken_and_the_emptiest_as_often_as_it_is_drawn() -> None:
    found = chosen(endpoints(0, 3, 2))

    assert set(found) == {"0 emptier", "2 emptier"}
    assert 350 < found["0 emptier"] < 450  # in two of three pairs


def test_emptiness_is_a_share_of_what_an_endpoint_has() -> None:
    large, small = endpoints(4, concurrency=16) + endpoints(2, concurrency=4)

    assert chosen([large, small]) == {"0 emptier": 600}


def test_without_room_nothing_is_chosen() -> None:
    assert chosen(endpoints(4, 4), times=1) == {"none": 1}
    assert chosen([], times=1) == {"none": 1}
    assert chosen(endpoints(1), cost=9, times=1) == {"none": 1}


def holding(of: Endpoint, **wants: object) -> Endpoint:
    of.affinity.take(a_request(**wants))
    return of


@pytest.mark.parametrize(
    ("wants", "because"),
    [
        ({"adapter": "a"}, "adapter"),
        ({"session": "s"}, "session"),
        ({"prefix_hashes": (7,)}, "prefix"),
    ],
    ids=["adapter", "session", "prefix"],
)
def test_who_holds_what_is_needed_wins_though_it_is_fuller(
    wants: dict[str, object], because: str
) -> None:
    of = endpoints(10, 9, 9, concurrency=32)
    holding(of[0], **wants)

    assert chosen(of, **wants) == {f"0 {because}": 600}


@pytest.mark.parametrize("wants", [{"adapter": "a"}, {"session": "s"}, {"prefix_hashes": (7,)}])
def test_who_is_clearly_fuller_is_not_chosen_for_what_it_holds(wants: dict[str, object]) -> None:
    of = endpoints(20, 9, 9, concurrency=32)
    holding(of[0], **wants)

    assert set(chosen(of, **wants)) == {"1 emptier", "2 emptier"}


def test_up_to_the_spare_fill_nobody_is_clearly_fuller() -> None:
    of = endpoints(7, 0, 0, concurrency=32)
    holding(of[0], adapter="a")
    assert chosen(of, adapter="a") == {"0 adapter": 600}

    of[0].in_flight = 8
    assert set(chosen(of, adapter="a")) == {"1 emptier", "2 emptier"}


def test_of_those_that_hold_it_the_emptiest_is_taken_and_equals_take_turns() -> None:
    of = endpoints(9, 8, 8, 9, 8, 7, concurrency=32)
    for each in of[:5]:
        holding(each, adapter="a")

    found = chosen(of, adapter="a")

    assert set(found) == {"1 adapter", "2 adapter", "4 adapter"}
    assert all(150 < times < 250 for times in found.values())


def test_an_adapter_is_worth_more_than_a_session_and_that_more_than_a_prefix() -> None:
    of = endpoints(8, 8, 8, concurrency=32)
    wants: dict[str, object] = {"adapter": "a", "session": "s", "prefix_hashes": (7,)}
    for each, (name, value) in zip(of, wants.items(), strict=True):
        holding(each, **{name: value})

    assert chosen(of, **wants) == {"0 adapter": 600}
    assert chosen(of[1:], **wants) == {"1 session": 600}


def test_a_little_of_a_prompt_is_worth_less_than_much_room() -> None:
    of = endpoints(9, 0, concurrency=40)
    holding(of[0], prefix_hashes=(1,))

    assert chosen(of, prefix_hashes=tuple(range(1, 11))) == {"1 emptier": 600}
    assert chosen(of, prefix_hashes=(1, 2)) == {"0 prefix": 600}


def test_what_nobody_holds_goes_to_the_emptier_of_two() -> None:
    found = chosen(endpoints(0, 3, 2), adapter="new", session="new", prefix_hashes=(1,))

    assert set(found) == {"0 emptier", "2 emptier"}


def test_the_bound_counts_what_full_endpoints_have_too() -> None:
    full, holder, other = endpoints(32, 20, 0, concurrency=32)
    holding(holder, adapter="a")

    assert chosen([full, holder, other], adapter="a") == {"1 adapter": 600}, "a mean of 17"
    assert chosen([holder, other], adapter="a") == {"2 emptier": 600}, "a mean of 10"


def seen(of: Endpoint, seconds: float, now: float = 100.0) -> Endpoint:
    of.latency.seen(seconds, now=now, memory_s=10)
    return of


def test_of_equally_full_ones_the_quicker_is_taken() -> None:
    slow, quick = endpoints(1, 1)
    seen(slow, 0.4)
    seen(quick, 0.1)

    assert chosen([slow, quick]) == {"1 quicker": 600}


def test_much_room_counts_more_than_a_quick_answer() -> None:
    slow, quick = endpoints(0, 2)
    seen(slow, 0.4)
    seen(quick, 0.1)

    assert chosen([slow, quick]) == {"0 emptier": 600}


def test_a_slow_endpoint_is_tried_again_when_it_was_idle_for_a_while() -> None:
    slow, quick = endpoints(1, 1)
    seen(slow, 0.4, now=100)
    seen(quick, 0.1, now=140)

    assert chosen([slow, quick]) == {"0 quicker": 600}


def test_of_those_that_hold_an_adapter_the_quicker_is_taken() -> None:
    of = endpoints(1, 1, 1, concurrency=32)
    for each, seconds in zip(of, (0.4, 0.1, 0.1), strict=True):
        seen(each, seconds)
    for each in of[:2]:
        holding(each, adapter="a")

    assert chosen(of, adapter="a") == {"1 adapter": 600}


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from(["healthy", "backoff"]), st.booleans()),
        max_size=5,
    ),
    st.integers(1, 9),
    st.booleans(),
)
def test_who_is_chosen_is_healthy_and_has_room(
    told: list[tuple[int, str, bool]], cost: int, wants: bool
) -> None:
    of = endpoints(*[busy for busy, _, _ in told], concurrency=8)
    for each, (_, state, holds) in zip(of, told, strict=True):
        each.state = state  # type: ignore[assignment]
        if holds:
            holding(each, adapter="a")

    found = choose(
        of, request=a_request(cost=cost, adapter="a" if wants else ""), rng=random.Random(1)
    )

    room = [each for each in of if each.free >= min(cost, 8)]
    assert (found is None) == (not room)
    if found is not None:
        assert found[0] in room
        assert (found[1] == "only") == (len(room) == 1)
