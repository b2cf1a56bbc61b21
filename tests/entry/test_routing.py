"""Routing: the colo that answers soonest comes first."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.world_map import Colo, Server, Shard, ShardLoad
from services.entry.routing import Candidate, Routes, distance_ms, expected_wait_ms, rank
from tests.entry.fakes import TEXT, place, put, small_world

AMS = Colo(name="ams", latitude=52.3, longitude=4.8)
LHR = Colo(name="lhr", latitude=51.5, longitude=-0.5)
SIN = Colo(name="sin", latitude=1.4, longitude=104.0)


def at(colo: Colo, index: int = 0, draining: bool = False, **load: Any) -> Candidate:
    shown = {"permits": 4, "free": 4} | load
    name = f"server-{colo.name}"
    return Candidate(
        shard=Shard(model="m", colo=colo.name, index=index, owner=name, epoch=1),
        server=Server(name=name, colo=colo.name, address=name, draining=draining),
        load=ShardLoad(model="m", colo=colo.name, index=index, server=name, **shown),
        colo=colo,
    )


BUSY: Any = {"free": 0, "queued": 8, "done": 10, "service_s": 10.0}
CASES = {
    "the own colo first": ([at(LHR), at(AMS), at(SIN)], {}, ["ams", "lhr", "sin"]),
    "nearer before farther": ([at(SIN), at(LHR)], {}, ["lhr", "sin"]),
    "a wait of seconds is worse than the way to Singapore": (
        [at(AMS, **BUSY), at(SIN)],
        {},
        ["sin", "ams"],
    ),
    "a short wait is better than the way to Singapore": (
        [at(AMS, free=0, done=100, service_s=1.0), at(SIN)],
        {},
        ["ams", "sin"],
    ),
    "no permits comes last": ([at(AMS, permits=0, free=0), at(SIN)], {}, ["sin", "ams"]),
    "a draining server comes last": ([at(AMS, draining=True), at(SIN)], {}, ["sin", "ams"]),
    "the preferred colo comes first": ([at(AMS), at(SIN)], {"preferred": "sin"}, ["sin", "ams"]),
    "preference makes no permits": (
        [at(AMS), at(SIN, permits=0, free=0)],
        {"preferred": "sin"},
        ["ams", "sin"],
    ),
    "one shard per colo": ([at(AMS, index=0, **BUSY), at(AMS, index=1)], {}, ["ams"]),
    "nobody": ([], {}, []),
}


@pytest.mark.parametrize(("candidates", "how", "order"), CASES.values(), ids=CASES.keys())
def test_the_best_colo_comes_first(
    candidates: list[Candidate], how: dict[str, str], order: list[str]
) -> None:
    assert [each.colo for each in rank(candidates, here=AMS, **how)] == order


def test_of_a_colos_shards_the_emptier_is_taken_unless_a_session_stays() -> None:
    shards = [at(AMS, index=0, **BUSY), at(AMS, index=1)]

    assert rank(shards, here=AMS)[0].shard == 1
    by_session = {rank(shards, here=AMS, session=str(n))[0].shard for n in range(20)}
    assert by_session == {0, 1}
    assert len({rank(shards, here=AMS, session="s")[0].shard for _ in range(5)}) == 1


@pytest.mark.parametrize(
    ("one", "other", "ms"),
    [(AMS, AMS, 0), (AMS, LHR, 3.7), (AMS, SIN, 105), (AMS, None, 0)],
    ids=["here", "near", "far", "unknown"],
)
def test_distance_is_a_round_trip(one: Colo, other: Colo | None, ms: float) -> None:
    assert distance_ms(one, other) == pytest.approx(ms, rel=0.05)


def test_the_expected_wait_follows_from_what_was_served() -> None:
    assert expected_wait_ms(None) == 0
    assert expected_wait_ms(at(AMS).load) == 0
    assert expected_wait_ms(at(AMS, **BUSY).load) == pytest.approx(1000 * 9 / 4)


@given(
    st.lists(
        st.builds(
            at,
            st.sampled_from([AMS, LHR, SIN]),
            index=st.integers(0, 3),
            permits=st.integers(0, 4),
            free=st.integers(0, 4),
            queued=st.integers(0, 50),
            done=st.integers(0, 9),
        )
    )
)
def test_every_colo_is_there_once_and_those_with_permits_first(found: list[Candidate]) -> None:
    ranked = rank(found, here=AMS)

    colos = [each.colo for each in ranked]
    assert sorted(colos) == sorted({each.shard.colo for each in found})
    can = {each.shard.colo for each in found if each.has_permits}
    assert [colo in can for colo in colos] == sorted((colo in can for colo in colos), reverse=True)


def test_routes_follow_the_world() -> None:
    world = small_world("ams")
    routes = Routes(world=world, colo="ams")
    assert [each.colo for each in routes.to(TEXT)] == ["ams"]

    put(world, *place(TEXT, "ams", free=0, permits=0), *place(TEXT, "lhr"))

    assert [each.colo for each in routes.to(TEXT)] == ["lhr", "ams"]
    assert routes.to(TEXT)[0].epoch == 7
    assert routes.to("nobody's") == ()
