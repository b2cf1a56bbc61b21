"""Endpoints that are used though they are unwell, and those that leave or come back meanwhile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import ModelFailed
from libs.common.world_map import Instance
from services.server.outliers import (
    DEAD,
    EJECTED,
    HEALTHY,
    LOST,
    TRIAL,
)
from tests.fakes import COLO, MODEL, an_instance, put
from tests.server.wards import DOWN, PROVEN, UP, Ward


def test_the_last_endpoint_is_used_though_it_fails_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ward = Ward(1)

    for _ in range(50):
        ward.call(0, ModelFailed)
        ward.sample()

    assert (ward.states, ward.used) == ([EJECTED], [0])
    assert ward.endpoints[0].load().state == "backoff"
    assert ward.metrics.panics == {(COLO, MODEL): 1}
    assert [each.message for each in caplog.records if each.levelname == "WARNING"] == [
        f"{MODEL}: too few of 1 endpoints are well, so all are used"
    ]
    assert ward.shard.tally
    assert ward.shard.tally.states == {HEALTHY: 5, TRIAL: 0, EJECTED: 45}


def test_a_trial_in_a_panic_takes_as_many_calls_as_ever() -> None:
    ward = Ward(1)
    for _ in range(5):
        ward.call(0, ModelFailed)

    ward.probe(0, UP)

    assert (ward.states, ward.endpoints[0].concurrency) == ([TRIAL], 2)


def test_nobody_is_sent_where_nobody_answers_even_in_a_panic(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ward = Ward(2)

    for each in ward.endpoints:
        ward.health.lost(ward.shard, each, is_dead=False)
        ward.sample()
        ward.sample()

    assert (ward.used, ward.metrics.panics) == ([], {})
    assert [each.message for each in caplog.records if each.levelname == "WARNING"] == [
        f"{MODEL}: none of 2 endpoints answers, so calls wait"
    ]


def test_a_suspect_that_is_used_in_a_panic_and_lost_gets_no_more_calls() -> None:
    ward = Ward(1)
    for _ in range(5):
        ward.call(0, ModelFailed)
    assert ward.used == [0]

    ward.health.lost(ward.shard, ward.endpoints[0], is_dead=False)

    assert (ward.used, ward.endpoints[0].condition.cause) == ([], LOST)


def test_the_panic_ends_when_enough_are_well() -> None:
    ward = Ward(1)
    for _ in range(5):
        ward.call(0, ModelFailed)
    assert ward.shard.alarm

    put(ward.world, an_instance(1), an_instance(2))
    ward.shards.sync()
    ward.sample()

    assert (ward.shard.alarm, ward.used) == ("", [1, 2])


def test_who_leaves_is_neither_judged_nor_counted() -> None:
    ward = Ward(2)
    put(ward.world, an_instance(0, state="draining"))
    ward.shards.sync()

    for _ in range(9):
        ward.call(0, ModelFailed)
    ward.health.lost(ward.shard, ward.endpoints[0], is_dead=False)

    assert [each.state for each in ward.endpoints] == ["draining", "healthy"]
    assert ward.endpoints[0].load().state == "draining"


def test_who_is_taken_back_by_its_node_is_still_ejected() -> None:
    ward = Ward(2)
    ward.health.lost(ward.shard, ward.endpoints[0], is_dead=False)

    for state in ("draining", "ready"):
        instance: Instance = an_instance(0, state=state)
        put(ward.world, instance)
        ward.shards.sync()

    assert ward.endpoints[0].state == "backoff"


def test_an_instance_at_another_address_is_another_endpoint() -> None:
    ward = Ward(1)
    ward.health.lost(ward.shard, ward.endpoints[0], is_dead=False)

    moved = Instance(
        id=an_instance(0).id, model=MODEL, colo=COLO, address="127.0.0.1:9999", state="ready"
    )
    put(ward.world, moved)
    ward.shards.sync()

    assert (ward.states, ward.used) == ([HEALTHY], [0])


OPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["answer", "fail", "slow", "lost", "dead", "up", "down", "proven", "drain", "back"]
        ),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.3, 2.0, 13.0]),
    ),
    max_size=60,
)


@given(endpoints=st.integers(1, 4), ops=OPS)
def test_calls_go_to_whoever_may_serve_and_never_to_nobody(
    endpoints: int, ops: list[tuple[str, int, float]]
) -> None:
    ward = Ward(endpoints)

    for op, number, wait_s in ops:
        each = number % endpoints
        endpoint = ward.endpoints[each]
        ward.clock.advance(wait_s)
        match op:
            case "answer" | "slow":
                ward.call(each, took_s=9.0 if op == "slow" else 0.01)
            case "fail":
                for _ in range(5):
                    ward.call(each, ModelFailed)
            case "lost" | "dead":
                ward.health.lost(ward.shard, endpoint, is_dead=op == "dead")
            case "up" | "down" | "proven":
                verdict = {"up": UP, "down": DOWN, "proven": PROVEN}[op]
                ward.health.probed(ward.shard, endpoint, verdict)
            case "drain" | "back":
                state = "draining" if op == "drain" else "ready"
                put(ward.world, an_instance(each, state=state))
                ward.shards.sync()
        ward.sample()

        able = [each for each in ward.endpoints if each.state != "draining"]
        gone = [
            e for e in able if e.condition.state == EJECTED and e.condition.cause in (LOST, DEAD)
        ]
        used = [each for each in able if each.state == "healthy"]
        assert len(gone) == len(able) or used
        assert not [each for each in gone if each in used]
        assert {each.concurrency for each in able} <= {1, 2}
        for each_one in able:
            condition = each_one.condition
            assert condition.state != HEALTHY or (each_one in used and each_one.concurrency == 2)
            assert condition.retry_at <= ward.clock.now() + 1.2 * ward.limits.longest_backoff_s
