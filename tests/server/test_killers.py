"""Requests that kill instances are refused, for a while; those that were only near are not."""

from __future__ import annotations

import pytest

from libs.common.envelope import InferRequest
from services.server.killers import Killers
from tests.fakes import a_request

POISON = {"payload": b"poison"}


def killed(
    killers: Killers, request: InferRequest, *deaths: tuple[str, int], now: float = 0.0
) -> None:
    for instance, life in deaths:
        killers.ran(request, instance, life, now)


@pytest.mark.parametrize(
    ("deaths", "is_killer"),
    [
        ([], False),
        ([("a", 0)], False),
        ([("a", 0), ("a", 0)], False),
        ([("a", 0), ("b", 0)], True),
        ([("a", 0), ("a", 1)], True),
    ],
    ids=["none", "one", "one, told twice", "two instances", "one that came back"],
)
def test_two_deaths_are_enough(deaths: list[tuple[str, int]], is_killer: bool) -> None:
    killers = Killers()
    killed(killers, a_request(**POISON), *deaths)

    assert killers.has_killed(a_request(**POISON), 1.0) is is_killer


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": b"poisoN"},
        {"account": "b" * 32},
        {"model": "@cf/test/other"},
        {"adapter": "x"},
    ],
    ids=["payload", "account", "model", "adapter"],
)
def test_another_request_is_not_taken_for_it(changes: dict[str, object]) -> None:
    killers = Killers()
    killed(killers, a_request(**POISON), ("a", 0), ("b", 0))

    assert not killers.has_killed(a_request(**{**POISON, **changes}), 1.0)


def test_it_is_refused_for_a_while_and_then_forgotten() -> None:
    killers = Killers(keep_s=60)
    killed(killers, a_request(**POISON), ("a", 0), ("b", 0), now=100)

    assert killers.has_killed(a_request(**POISON), 159)
    assert not killers.has_killed(a_request(**POISON), 161)
    assert killers.suspects == {}


def test_who_is_answered_is_acquitted() -> None:
    killers = Killers()
    killed(killers, a_request(**POISON), ("a", 0))

    killers.acquit(a_request(payload=b"other!"))
    assert killers.suspects
    killers.acquit(a_request(**POISON))

    assert killers.suspects == {}


def test_the_table_is_bounded_and_the_oldest_go() -> None:
    killers = Killers(most=3)
    for number in range(10):
        killed(killers, a_request(payload=b"%d" % number), ("a", 0), ("b", 0), now=float(number))

    found = [n for n in range(10) if killers.has_killed(a_request(payload=b"%d" % n), 11.0)]
    assert found == [7, 8, 9]
    assert repr(killers) == "<Killers 3/3 suspects>"


def goes_on(**changes: object) -> InferRequest:
    """The rest of a call: the same id, and other words."""
    return a_request(payload=b"poison and some more", attempt=1, continued_from=3, **changes)


def test_what_goes_on_from_its_text_is_the_same_request() -> None:
    killers = Killers()
    killed(killers, a_request(**POISON), ("a", 0))
    killed(killers, goes_on(), ("b", 0))

    assert killers.has_killed(a_request(**POISON), 1.0)
    assert killers.has_killed(goes_on(), 1.0)
    assert not killers.has_killed(goes_on(request_id="1" * 26), 1.0)


def test_a_stream_that_went_on_well_was_only_near() -> None:
    killers = Killers()
    killed(killers, a_request(**POISON), ("a", 0))

    killers.acquit(goes_on())

    assert killers.suspects == {}
