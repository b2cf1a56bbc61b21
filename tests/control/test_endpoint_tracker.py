"""Stays of endpoints: each begins once, ends at most once, whatever comes, goes and restarts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events.values import EventType
from libs.common.world_map import Instance
from services.control.endpoint_tracker import (
    AvailableEndpointTracker,
    Endpoint,
    Stay,
    endpoints_of,
    event_of,
)


def at(name: str, address: str = "h:1") -> Endpoint:
    return Endpoint(instance=name, model="m", colo="ams", node="n", address=address)


A, B, A_ELSEWHERE = at("a"), at("b"), at("a", "h:2")


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ([[]], [[]]),
        ([[A]], [[(A, 1000, 0)]]),
        ([[A], [A]], [[(A, 1000, 0)], []]),
        ([[A], []], [[(A, 1000, 0)], [(A, 1000, 1010)]]),
        ([[A], [A, B]], [[(A, 1000, 0)], [(B, 1010, 0)]]),
        ([[A, B], [B]], [[(A, 1000, 0), (B, 1000, 0)], [(A, 1000, 1010)]]),
        ([[A], [B]], [[(A, 1000, 0)], [(A, 1000, 1010), (B, 1010, 0)]]),
        ([[A], [A_ELSEWHERE]], [[(A, 1000, 0)], [(A, 1000, 1010), (A_ELSEWHERE, 1010, 0)]]),
        ([[A], [], [A]], [[(A, 1000, 0)], [(A, 1000, 1010)], [(A, 1020, 0)]]),
    ],
    ids=["nothing", "comes", "stays", "goes", "another", "one goes", "turns", "moves", "returns"],
)
def test_what_comes_begins_and_what_goes_ends(
    looks: list[list[Endpoint]], told: list[list[tuple[Endpoint, int, int]]]
) -> None:
    tracker = AvailableEndpointTracker()

    found = [tracker.look(each, at_ms=1000 + 10 * n) for n, each in enumerate(looks)]

    assert [[(s.endpoint, s.begin_ts, s.end_ts) for s in each] for each in found] == told


def test_who_goes_on_tells_nothing_twice_and_what_left_meanwhile_left_when_it_was_last_seen() -> (
    None
):
    kept = [Stay(endpoint=A, begin_ts=100), Stay(endpoint=B, begin_ts=200)]
    tracker = AvailableEndpointTracker(kept, seen_ts=500)

    first = tracker.look([B], at_ms=9000)
    later = tracker.look([], at_ms=9500)

    assert first == [Stay(endpoint=A, begin_ts=100, end_ts=500)]
    assert later == [Stay(endpoint=B, begin_ts=200, end_ts=9500)]


def test_time_that_is_set_back_turns_no_stay_around() -> None:
    tracker = AvailableEndpointTracker()

    (begun,) = tracker.look([A], at_ms=1000)
    (ended,) = tracker.look([], at_ms=500)
    (again,) = tracker.look([A], at_ms=400)

    assert begun.begin_ts < ended.end_ts < again.begin_ts


NAMES = st.sampled_from("abcd")
LOOKS = st.lists(
    st.tuples(
        st.dictionaries(NAMES, st.sampled_from(["h:1", "h:2"])),  # what is there
        st.integers(-5, 50),  # how the machine's time moves
        st.booleans(),  # whether another one takes over
    ),
    max_size=30,
)


@given(LOOKS)
def test_every_stay_begins_once_and_ends_once_or_goes_on(
    looks: Sequence[tuple[dict[str, str], int, bool]],
) -> None:
    tracker, now, told = AvailableEndpointTracker(), 1000, list[Stay]()
    for there, moved, is_new in looks:
        now += moved
        if is_new:
            tracker = AvailableEndpointTracker(tracker.present, seen_ts=now)
        told += tracker.look([at(*each) for each in there.items()], at_ms=now)

        begun = [(s.endpoint, s.begin_ts) for s in told if not s.end_ts]
        ended = [(s.endpoint, s.begin_ts) for s in told if s.end_ts]
        assert len(begun) == len(set(begun))
        assert len(ended) == len(set(ended))
        assert set(ended) <= set(begun)
        assert {e for e, _ in set(begun) - set(ended)} == {at(*each) for each in there.items()}
        assert all(s.begin_ts < s.end_ts for s in told if s.end_ts)


def test_endpoints_are_those_of_instances_that_run_calls() -> None:
    instances = [
        Instance(id=state, model="m", colo="ams", node="n", address="h:1", state=state)
        for state in ("booting", "ready", "draining", "failed")
    ]

    assert [each.instance for each in endpoints_of(instances)] == ["ready", "draining"]


def test_an_event_says_what_was_where_and_who_saw_it() -> None:
    event = event_of(Stay(endpoint=A, begin_ts=1, end_ts=2), hostname="tracker")

    assert (event.begin_ts, event.end_ts, event.event_type) == (1, 2, EventType.ENDPOINT)
    assert (event.model_id, event.colo, event.node, event.endpoint) == ("m", "ams", "n", "h:1")
    assert event.hostname == "tracker"
