"""Affinity: bounded tables of what an endpoint holds, and what that is worth to a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.envelope import InferRequest
from services.server.affinity import Affinity, has_affinity
from services.server.preferences import Preferences
from services.server.recent import Recent
from tests.fakes import a_request

WEIGHTS = Preferences(adapter=4, session=2, prefix=1)


def holding(*requests: InferRequest) -> Affinity:
    affinity = Affinity()
    for each in requests:
        affinity.take(each)
    return affinity


@given(st.integers(1, 5), st.lists(st.integers(0, 9)))
def test_those_used_last_stay(limit: int, used: list[int]) -> None:
    recent: Recent[int] = Recent(limit)

    for each in used:
        recent.use(each)

    newest_first = list(dict.fromkeys(reversed(used)))
    assert list(recent) == list(reversed(newest_first[:limit]))
    assert all(recent.holds(each) for each in recent)


def test_asking_is_no_use() -> None:
    recent: Recent[str] = Recent(2)
    recent.use("old")
    recent.use("new")

    assert recent.holds("old")
    recent.use("newest")

    assert list(recent) == ["new", "newest"]


def test_a_smaller_limit_holds_from_the_next_use_on() -> None:
    affinity = holding(*[a_request(adapter=name) for name in "abcd"])

    affinity.limit(adapters=2, sessions=1, prefixes=1)
    affinity.take(a_request(adapter="e"))

    assert list(affinity.adapters) == ["d", "e"]


POINTS: dict[str, tuple[InferRequest, float, str]] = {
    "nothing": (a_request(), 0, ""),
    "its adapter": (a_request(adapter="a"), 4, "adapter"),
    "another adapter": (a_request(adapter="b"), 0, ""),
    "its session": (a_request(session="s"), 2, "session"),
    "another account's session": (a_request(session="s", account="b" * 32), 0, ""),
    "all of a prompt": (a_request(prefix_hashes=(1, 2)), 1, "prefix"),
    "half of a longer one": (a_request(prefix_hashes=(1, 2, 3, 4)), 0.5, "prefix"),
    "the end of a prompt, which is as good as all": (a_request(prefix_hashes=(9, 2)), 1, "prefix"),
    "another prompt": (a_request(prefix_hashes=(9, 8)), 0, ""),
    "adapter and session": (a_request(adapter="a", session="s"), 6, "adapter"),
    "session and prompt": (a_request(session="s", prefix_hashes=(1,)), 3, "session"),
}


@pytest.mark.parametrize(("request_", "points", "reason"), POINTS.values(), ids=POINTS.keys())
def test_what_is_held_is_worth_points(request_: InferRequest, points: float, reason: str) -> None:
    affinity = holding(a_request(adapter="a", session="s", prefix_hashes=(1, 2)))

    assert affinity.points(request_, WEIGHTS) == points
    assert affinity.reason(request_) == reason


def test_the_coarse_hash_of_a_prompt_stays_longest() -> None:
    affinity = Affinity()
    affinity.limit(adapters=1, sessions=1, prefixes=2)

    affinity.take(a_request(prefix_hashes=(1, 2, 3)))

    assert list(affinity.prefixes) == [2, 1]


def test_what_was_held_is_forgotten() -> None:
    affinity = holding(a_request(adapter="a", session="s", prefix_hashes=(1,)))

    affinity.forget()

    assert repr(affinity) == "<Affinity adapters=0 sessions=0 prefixes=0>"


@pytest.mark.parametrize(
    ("wants", "matters"),
    [
        ({}, False),
        ({"adapter": "a"}, True),
        ({"session": "s"}, True),
        ({"prefix_hashes": (1,)}, True),
    ],
)
def test_affinity_matters_to_who_has_something_to_find(
    wants: dict[str, object], matters: bool
) -> None:
    assert has_affinity(a_request(**wants)) is matters
