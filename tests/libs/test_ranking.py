"""Ranking: the place that answers soonest comes first, and nobody runs after an old map."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.ranking import (
    LONGEST_BACKOFF_S,
    Place,
    Wish,
    best,
    hops,
    ranked,
    round_trip_ms,
    shard_for,
    used_share,
    wait_ms,
    wish_of,
)
from libs.common.world_map import Colo
from tests.fakes import a_request
from tests.places import AMS, LHR, NOW, SIN, at, sites


def order(*places: Place, wish: Wish | None = None) -> list[str]:
    return [each.colo for each in ranked(sites(*places), NOW, wish or Wish())]


BUSY: Any = {"free": 0, "queued": 8, "service_ms": 1000.0}
CASES: dict[str, tuple[list[Place], Wish, list[str]]] = {
    "the own colo first": ([at(LHR), at(AMS), at(SIN)], Wish(), ["ams", "lhr", "sin"]),
    "nearer before farther": ([at(SIN), at(LHR)], Wish(), ["lhr", "sin"]),
    "a wait of seconds is worse than the way to Singapore": (
        [at(AMS, **BUSY), at(SIN)],
        Wish(),
        ["sin", "ams"],
    ),
    "a short wait is better than the way to Singapore": (
        [at(AMS, free=0, service_ms=10.0), at(SIN)],
        Wish(),
        ["ams", "sin"],
    ),
    "own calls are taken off": ([at(AMS, unseen=4), at(LHR)], Wish(), ["lhr", "ams"]),
    "a full queue is worse than any wait": (
        [at(AMS, free=0, queued=64, service_ms=1.0), at(LHR, free=0, queued=63, service_ms=1e5)],
        Wish(),
        ["lhr", "ams"],
    ),
    "no permits comes last": ([at(AMS, permits=0, free=0), at(SIN)], Wish(), ["sin", "ams"]),
    "a draining server comes last": ([at(AMS, draining=True), at(SIN)], Wish(), ["sin", "ams"]),
    "a lost server comes last for a while": (
        [at(AMS, away_until=NOW + 1), at(SIN, **BUSY)],
        Wish(),
        ["sin", "ams"],
    ),
    "and then first": ([at(AMS, away_until=NOW), at(SIN)], Wish(), ["ams", "sin"]),
    "nothing was heard yet": ([at(AMS, is_known=False), at(SIN)], Wish(), ["sin", "ams"]),
    "the preferred colo comes first": (
        [at(AMS), at(SIN, **BUSY)],
        Wish(preferred="sin"),
        ["sin", "ams"],
    ),
    "preference makes no permits": (
        [at(AMS), at(SIN, permits=0, free=0)],
        Wish(preferred="sin"),
        ["ams", "sin"],
    ),
    "background work goes where it is emptiest": (
        [at(AMS, free=3), at(LHR, free=1), at(SIN, free=4)],
        Wish(background=True),
        ["sin", "ams", "lhr"],
    ),
    "a sibling shard before another colo": (
        [at(AMS, **BUSY), at(AMS, 1), at(LHR)],
        Wish(),
        ["ams", "lhr", "ams"],
    ),
    "nobody": ([], Wish(), []),
}


@pytest.mark.parametrize(("places", "wish", "expected"), CASES.values(), ids=CASES.keys())
def test_the_best_place_comes_first(places: list[Place], wish: Wish, expected: list[str]) -> None:
    assert order(*places, wish=wish) == expected


colos = st.sampled_from([AMS, LHR, SIN])
places_of = st.lists(
    st.builds(
        at,
        colos,
        shard=st.integers(0, 3),
        permits=st.integers(0, 4),
        free=st.integers(0, 4),
        queued=st.integers(0, 70),
        unseen=st.integers(0, 9),
        service_ms=st.sampled_from([1.0, 100.0, 5000.0]),
        is_known=st.booleans(),
        draining=st.booleans(),
        away_until=st.sampled_from([0.0, NOW + 1]),
    ),
    max_size=8,
)
wishes = st.builds(
    Wish,
    preferred=st.sampled_from(["", "ams", "sin"]),
    key=st.sampled_from(["", "a", "b"]),
    background=st.booleans(),
)


@given(places_of, wishes)
def test_every_place_is_there_once_and_those_that_can_serve_first(
    places: list[Place], wish: Wish
) -> None:
    found = ranked(sites(*places), NOW, wish)

    assert sorted(map(id, found)) == sorted(map(id, places))
    able = [not each.draining and (each.permits > 0 or not each.is_known) for each in found]
    in_colos = {site.colo: [p for p in found if p.colo == site.colo] for site in sites(*places)}
    if all(len(each) == 1 for each in in_colos.values()):
        assert able == sorted(able, reverse=True)


@given(places_of, wishes)
def test_only_who_may_have_room_is_taken_where_that_is_asked(
    places: list[Place], wish: Wish
) -> None:
    found = best(sites(*places), NOW, wish, with_room=True)

    rooms = [each.may_have_room() for each in places]
    assert (found is not None) == any(rooms)
    assert found is None or found.may_have_room()


@given(st.integers(1, 9), st.integers(0, 20), st.integers(0, 200))
def test_waits_grow_with_those_ahead_and_shrink_with_permits(
    permits: int, queued: int, unseen: int
) -> None:
    def wait(permits: int, queued: int, unseen: int) -> float:
        return wait_ms(at(AMS, permits=permits, free=0, queued=queued, unseen=unseen))

    assert wait(permits, queued, unseen) <= wait(permits, queued + 1, unseen)
    assert wait(permits, queued, unseen) <= wait(permits, queued, unseen + 1)
    assert wait(permits + 1, queued, unseen) <= wait(permits, queued, unseen)


def test_the_expected_wait_follows_from_what_was_served() -> None:
    assert wait_ms(at(AMS)) == 0
    assert wait_ms(at(AMS, **BUSY)) == pytest.approx(1000 * 9 / 4)
    place = at(AMS, free=0)
    place.serves(done=10, service_s=5.0)
    assert wait_ms(place) == pytest.approx(500 / 4)
    place.serves(done=12, service_s=5.2)  # the newest two took 100 ms each
    assert wait_ms(place) == pytest.approx(300 / 4)
    place.serves(done=1, service_s=0.1)  # after a restart
    assert wait_ms(place) == pytest.approx(200 / 4)


def test_what_is_heard_replaces_own_calls_but_those_on_their_way() -> None:
    place = at(SIN)  # 105 ms away
    for _ in range(3):
        place.sends(NOW)
    place.sends(NOW + 0.5)
    assert place.room == 0

    place.hears(free=2, queued=0, now=NOW + 0.55)

    assert place.room == 1, "the last one cannot have been seen yet"
    place.answers(free=2, queued=0, now=NOW + 0.56)
    assert place.room == 2, "but one that is answered was"
    place.hears(free=3, queued=0, now=NOW + 9)
    assert place.room == 3


@given(st.lists(st.tuples(st.sampled_from(["send", "hear"]), st.floats(0, 0.3)), max_size=40))
def test_calls_of_the_last_round_trip_are_always_taken_off(steps: list[tuple[str, float]]) -> None:
    place, now, sent = at(SIN, free=1000), NOW, []
    for what, later in steps:
        now += later
        if what == "send":
            place.sends(now)
            sent.append(now)
        else:
            place.hears(1000, 0, now)

        late = [each for each in sent if now - each < place.distance_ms / 1000]
        assert len(late) <= place.unseen <= len(sent)


def test_a_lost_server_is_tried_by_one_call_at_a_time_and_seldomer() -> None:
    place, other = at(AMS), at(SIN)
    there = sites(place, other)
    place.fails(NOW)
    assert best(there, NOW) is other

    later = NOW + 0.5
    assert best(there, later) is place
    place.sends(later)

    assert best(there, later) is other, "one finds out, the others do not wait for it"
    for _ in range(20):
        place.fails(later)
    assert place.away_until == later + LONGEST_BACKOFF_S
    place.answers(free=4, queued=0, now=later)
    assert best(there, later) is place


def test_a_measured_way_is_the_shortest_that_was_seen_and_follows_slowly() -> None:
    place = at(SIN)

    place.measures(250.0)
    assert place.distance_ms == 250.0, "whatever the great circle says"
    place.measures(180.0)
    assert place.distance_ms == 180.0
    place.measures(1180.0)
    assert place.distance_ms == pytest.approx(200.0)


def test_a_key_stays_with_its_shard_and_spills_only_when_that_is_clearly_fuller() -> None:
    shards = [at(AMS, index) for index in range(4)]
    homes = {key: shard_for(shards, key, NOW) for key in map(str, range(40))}
    assert set(homes.values()) == set(shards)

    home = homes["7"]
    home.free = 3
    assert shard_for(shards, "7", NOW) is home, "one call more than the others is nothing"
    home.free = 1
    spilled = shard_for(shards, "7", NOW)

    assert spilled is not home
    assert shard_for([*reversed(shards)], "7", NOW) is spilled
    assert {shard_for(shards, key, NOW) for key in homes if homes[key] is not home} == {
        each for each in shards if each is not home
    }


@given(places_of.filter(bool), st.text(max_size=3))
def test_a_key_never_makes_a_call_wait_where_a_sibling_is_free(
    places: list[Place], key: str
) -> None:
    for each in places:
        each.colo, each.distance_ms = "ams", 0.0

    chosen = shard_for(places, key, NOW)

    free = [p for p in places if p.is_known and p.permits and not p.draining and p.room > 0]
    well = [p for p in free if p.away_until <= NOW]
    if any(used_share(p) <= 1 for p in well):
        assert chosen in well or chosen.room > 0


@pytest.mark.parametrize(
    ("one", "other", "ms"),
    [(AMS, AMS, 0), (AMS, LHR, 3.7), (AMS, SIN, 105), (AMS, None, 0)],
    ids=["here", "near", "far", "unknown"],
)
def test_distance_is_a_round_trip(one: Colo, other: Colo | None, ms: float) -> None:
    assert round_trip_ms(one, other) == pytest.approx(ms, rel=0.05)


@pytest.mark.parametrize(
    ("visited", "colo", "count"),
    [((), "ams", 0), (("ams",), "lhr", 1), (("ams",), "ams", 0), (("ams", "lhr"), "lhr", 1)],
    ids=["here at first", "from another colo", "from a sibling here", "from a sibling there"],
)
def test_a_hop_is_from_colo_to_colo(visited: tuple[str, ...], colo: str, count: int) -> None:
    assert hops(visited, colo) == count


def test_a_request_says_what_it_would_like() -> None:
    assert wish_of(a_request()) == Wish()
    assert wish_of(a_request(session="s", adapter="a")) == Wish(key="s")
    assert wish_of(a_request(adapter="a", prefix_hashes=(7, 8))) == Wish(key="a")
    assert wish_of(a_request(prefix_hashes=(7, 8), background=True)) == Wish(
        key="7", background=True
    )
    assert wish_of(a_request(preferred_colo="sin")) == Wish(preferred="sin")
