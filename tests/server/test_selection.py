"""Selection: the better of two, and any two are drawn."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from services.server.endpoints import Endpoint
from services.server.selection import choose
from tests.fakes import a_request


def endpoints(*in_flight: int, concurrency: int = 4) -> list[Endpoint]:
    return [
        Endpoint(instance=str(number), address="a:1", concurrency=concurrency, in_flight=busy)
        for number, busy in enumerate(in_flight)
    ]


def chosen(of: list[Endpoint], *, cost: int = 1, times: int = 600) -> Counter[str]:
    rng = random.Random(1)
    found = [choose(of, request=a_request(cost=cost), rng=rng) for _ in range(times)]
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
