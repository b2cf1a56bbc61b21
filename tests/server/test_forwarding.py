"""Where a call is forwarded: better by a margin, in bounds, and never in circles."""

from dataclasses import replace
from itertools import pairwise
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.envelope import InferRequest
from libs.common.errors import HopsUsedUp, OutOfCapacity, RequestError
from libs.common.ranking import Place, hops
from services.server.forwarding import Here, Settings, honest, where_to
from tests.fakes import a_request
from tests.places import NOW, at, sites

AMS = Here(server="server-ams", colo="ams", shard=0, wait_ms=1000.0, turn_ms=1000.0)
LEAVING = replace(AMS, wait_ms=inf)
FULL: Any = {"free": 0, "queued": 64, "service_ms": 10_000.0}
SETTINGS = Settings(margin_ms=50, max_hops=2)


def decide(
    *places: Place, here: Here = AMS, settings: Settings = SETTINGS, **said: Any
) -> str | type[RequestError] | None:
    """The server that the call goes to, None if it stays, or the class of its error."""
    more = {name: said.pop(name) for name in ("tried", "any_queue") if name in said}
    try:
        found = where_to(sites(*places), a_request(**said), here, settings, now=NOW, **more)
    except RequestError as error:
        return type(error)
    return found.server if found else None


HERE = at("ams", **FULL)
CASES: dict[str, tuple[str | type[RequestError] | None, list[Place], dict[str, Any]]] = {
    "there is nobody else": (None, [HERE], {}),
    "a long wait is worth the way": ("server-sin", [HERE, at("sin")], {}),
    "a short wait is not": (None, [HERE, at("sin")], {"here": replace(AMS, wait_ms=150.0)}),
    "the margin is on top of the way": (
        "server-sin",
        [HERE, at("sin")],
        {"here": replace(AMS, wait_ms=160.0)},
    ),
    "who waits elsewhere, too, stays": (
        None,
        [HERE, at("sin", free=0, queued=8, service_ms=1000.0)],
        {},
    ),
    "the nearest with room": ("server-lhr", [HERE, at("sin"), at("lhr")], {}),
    "but not where it was": (
        "server-sin",
        [HERE, at("sin"), at("lhr")],
        {"visited_colos": ("lhr",)},
    ),
    "nor where it was tried": (None, [HERE, at("lhr", draining=True)], {}),
    "two hops are enough": (None, [HERE, at("lhr")], {"visited_colos": ("sin", "iad")}),
    "as the setting has it": (None, [HERE, at("lhr")], {"settings": Settings(max_hops=0)}),
    "a sibling first": (
        "other-ams",
        [HERE, at("ams", 1, server="other-ams"), at("lhr")],
        {},
    ),
    "to a sibling after two hops, too": (
        "other-ams",
        [HERE, at("ams", 1, server="other-ams"), at("lhr")],
        {"visited_colos": ("sin", "iad")},
    ),
    "but to one alone": (
        "server-lhr",
        [HERE, at("ams", 1, server="other-ams"), at("lhr")],
        {"visited_colos": ("ams",)},
    ),
    "another shard of this server": ("server-ams", [HERE, at("ams", 1)], {}),
    "the preferred colo is waited for": (None, [HERE, at("lhr")], {"preferred_colo": "ams"}),
    "if it can be": (
        "server-lhr",
        [HERE, at("lhr")],
        {"preferred_colo": "ams", "here": LEAVING},
    ),
    "background work to the emptiest": (
        "server-sin",
        [HERE, at("lhr", free=1), at("sin", free=4)],
        {"background": True},
    ),
    "who must leave goes into a queue": (
        "server-lhr",
        [HERE, at("lhr", free=0, queued=63)],
        {"here": LEAVING},
    ),
    "but not who never queues": (
        OutOfCapacity,
        [HERE, at("lhr", free=0, queued=0)],
        {"here": LEAVING, "reject_if_busy": True},
    ),
    "all full": (OutOfCapacity, [HERE, at("lhr", **FULL), at("sin", **FULL)], {"here": LEAVING}),
    "all others without permits": (
        OutOfCapacity,
        [HERE, at("lhr", permits=0, free=0)],
        {"here": LEAVING},
    ),
    "no hop left, though there is room": (
        HopsUsedUp,
        [HERE, at("lhr")],
        {"here": LEAVING, "visited_colos": ("sin", "iad")},
    ),
    "room only where it was for want of it": (
        OutOfCapacity,
        [HERE, at("lhr")],
        {"here": LEAVING, "visited_colos": ("lhr",)},
    ),
    "a lost server does not count": (
        OutOfCapacity,
        [HERE, at("lhr", away_until=NOW + 1)],
        {"here": LEAVING},
    ),
    "nor who cannot serve at all": (
        OutOfCapacity,
        [HERE, at("lhr", permits=0, free=0), at("sin", draining=True)],
        {"here": LEAVING, "any_queue": True},
    ),
    "who knows better is asked, full or not": (
        "new-ams",
        [at("ams", server="new-ams", **FULL)],
        {"here": LEAVING, "any_queue": True},
    ),
}


@pytest.mark.parametrize(("expected", "places", "said"), CASES.values(), ids=CASES.keys())
def test_where_a_call_goes(
    expected: str | type[RequestError] | None, places: list[Place], said: dict[str, Any]
) -> None:
    assert decide(*places, **said) == expected


def test_a_place_is_not_tried_twice() -> None:
    lhr, sin = at("lhr"), at("sin")

    assert decide(HERE, lhr, sin, tried=(lhr,)) == "server-sin"
    assert decide(HERE, lhr, sin, tried=(lhr, sin)) is None


def test_retry_after_is_the_shortest_wait_of_all() -> None:
    places = [
        HERE,
        at("lhr", free=0, queued=64, service_ms=400.0),
        at("sin", free=0, queued=64, service_ms=200.0),
    ]

    with pytest.raises(OutOfCapacity) as refused:
        where_to(sites(*places), a_request(), replace(LEAVING, turn_ms=9000.0), SETTINGS, now=NOW)

    assert refused.value.retry_after_ms == pytest.approx(200 * 65 / 4 + 105, rel=0.02)
    assert [honest(ms) for ms in (0.0, 1500.5, 1e9, inf)] == [1000, 1500, 60_000, 1000]


NAMES = ["ams", "lhr", "sin"]
shards = st.lists(
    st.builds(
        at,
        st.sampled_from(NAMES),
        shard=st.integers(0, 1),
        server=st.sampled_from(["a", "b", "c"]),
        permits=st.integers(0, 4),
        free=st.integers(0, 4),
        queued=st.integers(0, 70),
        draining=st.booleans(),
        is_known=st.booleans(),
    ),
    max_size=8,
)


@given(
    shards,
    st.lists(st.sampled_from(NAMES), unique=True),
    st.sampled_from([0.0, 200.0, inf]),
    st.integers(0, 3),
    st.booleans(),
)
def test_a_call_goes_only_where_it_may(
    places: list[Place], visited: list[str], wait_ms: float, max_hops: int, at_once: bool
) -> None:
    here = Here(server="a", colo="ams", shard=0, wait_ms=wait_ms)
    request = a_request(visited_colos=tuple(visited), reject_if_busy=at_once)

    try:
        found = where_to(sites(*places), request, here, Settings(max_hops=max_hops), now=NOW)
    except (HopsUsedUp, OutOfCapacity):
        assert wait_ms == inf, "only who cannot stay is refused"
        return

    assert found is not None or wait_ms < inf
    if found is not None:
        assert found.colo not in visited
        assert (found.server, found.colo, found.shard) != ("a", "ams", 0)
        assert found.may_have_room()
        assert not at_once or found.room > 0
        after = (*visited, *(() if "ams" in visited else ("ams",)))
        assert found.colo == "ams" or hops(after, found.colo) <= max_hops


@given(shards, st.integers(0, 3), st.integers(0, 2))
def test_every_walk_ends(places: list[Place], max_hops: int, start: int) -> None:
    """Each server believes that all others have room, and can itself never serve."""
    for each in places:
        each.permits = each.free = 4
        each.draining = False
    request, walked = a_request(), [at(NAMES[start], server="first")]

    while True:
        last = walked[-1]
        here = Here(server=last.server, colo=last.colo, shard=last.shard)
        try:
            found = where_to(sites(*places), request, here, Settings(max_hops=max_hops), now=NOW)
        except (HopsUsedUp, OutOfCapacity):
            break
        assert found is not None
        request = moved(request, last.colo)
        walked.append(found)

    colos = [each.colo for each in walked]
    assert sum(one != other for one, other in pairwise(colos)) <= max_hops
    assert all(colos.count(name) <= 2 for name in NAMES)


def moved(request: InferRequest, colo: str) -> InferRequest:
    made = request.copy()
    if colo not in made.visited_colos:
        made.visited_colos = (*made.visited_colos, colo)
    return made
