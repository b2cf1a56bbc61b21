"""Health: ejecting, trying and taking back the endpoints of a shard, and saying so."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common.catalog import Permits
from libs.common.errors import Aborted, DeadlineExceeded, ModelFailed, ModelRefused, RequestError
from services.server.outliers import (
    EJECTED,
    FAILING,
    HEALTHY,
    LOST,
    SLOW,
    TRIAL,
)
from services.server.witnesses import LATELY_S
from tests.fakes import COLO, MODEL
from tests.server.wards import DOWN, OWN, PROVEN, UP, Ward


def test_a_lost_endpoint_is_left_alone_at_once_and_back_after_one_probe() -> None:
    ward = Ward(2)

    ward.health.lost(ward.shard, ward.endpoints[0], is_dead=False)
    assert (ward.states, ward.used) == ([EJECTED, HEALTHY], [1])
    ward.probe(0, UP, after_s=0.1)
    assert ward.states[0] == EJECTED  # its backoff has not passed
    ward.probe(0, UP, after_s=0.3)

    assert (ward.states, ward.used) == ([HEALTHY, HEALTHY], [0, 1])
    assert ward.metrics.ejections == {(COLO, MODEL, LOST): 1}


def test_a_probe_that_fails_makes_the_backoff_longer() -> None:
    ward = Ward(2)
    ward.health.lost(ward.shard, ward.endpoints[0], is_dead=False)
    waits = []

    for _ in range(8):
        waits.append(ward.endpoints[0].condition.retry_at - ward.clock.now())
        ward.probe(0, DOWN, after_s=waits[-1])

    assert waits[0] < 0.31
    assert sorted(waits[:5]) == waits[:5]
    assert 8 <= waits[-1] <= 12


def test_what_a_probe_cannot_see_takes_a_trial() -> None:
    ward = Ward(2)

    ward.health.lost(ward.shard, ward.endpoints[0], is_dead=True)
    ward.probe(0, UP)
    assert (ward.states[0], ward.endpoints[0].concurrency, ward.used) == (TRIAL, 1, [0, 1])
    for _ in range(3):
        ward.call(0)

    assert (ward.states[0], ward.endpoints[0].concurrency) == (HEALTHY, 2)


def test_a_trial_begins_beside_the_streams_that_are_still_there() -> None:
    ward = Ward(2, permits=Permits(per_instance=4))
    tried = ward.endpoints[0]
    tried.in_flight = 3
    for _ in range(5):
        ward.call(0, ModelFailed)

    ward.probe(0, UP)
    assert (ward.states[0], tried.free) == (TRIAL, 1)
    tried.in_flight += 1
    ward.sample()
    assert tried.free == 0
    tried.in_flight -= 4  # the streams end, and so does the call: the next ones come one by one
    ward.sample()
    assert tried.free == 1
    for _ in range(3):
        ward.call(0)

    assert (ward.states[0], tried.free) == (HEALTHY, 4)


def test_a_trial_that_goes_wrong_is_the_end_of_it() -> None:
    ward = Ward(2)
    ward.health.lost(ward.shard, ward.endpoints[0], is_dead=True)
    ward.probe(0, UP)

    ward.call(0)
    ward.health.lost(ward.shard, ward.endpoints[0], is_dead=True)

    assert (ward.states, ward.used) == ([EJECTED, HEALTHY], [1])


def test_a_model_that_has_answered_itself_needs_no_trial() -> None:
    ward = Ward(2)

    ward.health.lost(ward.shard, ward.endpoints[0], is_dead=True)
    ward.probe(0, PROVEN)

    assert ward.states == [HEALTHY, HEALTHY]


def test_two_probes_in_a_row_must_fail() -> None:
    ward = Ward(2)

    for verdict in (DOWN, UP, DOWN):
        ward.probe(0, verdict, after_s=1)
    assert ward.states[0] == HEALTHY
    ward.probe(0, DOWN, after_s=1)

    assert (ward.states[0], ward.endpoints[0].condition.cause) == (EJECTED, LOST)


def test_failures_in_a_row_eject_at_once() -> None:
    ward = Ward(2)

    for _ in range(4):
        ward.call(0, ModelFailed)
    assert ward.states[0] == HEALTHY
    ward.call(0, ModelFailed)

    assert (ward.states[0], ward.endpoints[0].condition.cause) == (EJECTED, FAILING)


def test_one_accounts_failures_eject_nobody_who_answers_others() -> None:
    ward = Ward(4)

    for _ in range(40):
        for each in range(4):
            ward.call(each, account="good")
            for _ in range(30):
                ward.call(each, ModelFailed, account="bad", took_s=0.0)
        ward.sample()

    assert ward.states == [HEALTHY] * 4


def test_one_account_that_fails_at_one_endpoint_does_not_take_it_from_others() -> None:
    ward = Ward(2)

    for _ in range(20):
        for each in range(2):
            ward.call(each, account="good")
        for _ in range(3):
            ward.call(0, ModelFailed, account="bad", took_s=0.0)
        ward.sample()

    assert ward.states == [HEALTHY, HEALTHY]


def test_an_endpoint_that_fails_for_all_is_ejected_though_it_answered_them_before() -> None:
    ward = Ward(2)
    for account in ("one", "two"):
        for _ in range(50):
            ward.call(0, account=account)

    for _ in range(4):
        ward.call(0, ModelFailed, account="one")
    assert ward.states[0] == HEALTHY
    ward.call(0, ModelFailed, account="two")

    assert ward.states == [EJECTED, HEALTHY]


def test_an_account_that_is_the_only_one_left_is_believed_after_a_while() -> None:
    ward = Ward(2)
    ward.call(0, account="other")

    for _ in range(9):
        ward.call(0, ModelFailed)
    assert ward.states[0] == HEALTHY
    ward.clock.advance(LATELY_S)
    ward.call(0, ModelFailed)

    assert ward.states == [EJECTED, HEALTHY]


def test_failures_between_answers_eject_when_there_are_many() -> None:
    ward = Ward(2)

    for _ in range(10):
        ward.call(0, ModelFailed)
        ward.call(0)
        ward.call(1)
        ward.sample()

    assert ward.states == [EJECTED, HEALTHY]


@pytest.mark.parametrize(
    ("error", "took_s", "said", "counts"),
    [
        (ModelFailed, 0.0, {}, True),
        (DeadlineExceeded, 2.0, {}, True),
        (DeadlineExceeded, 0.5, {}, False),
        (DeadlineExceeded, 5.0, {"bounds": OWN}, False),
        (DeadlineExceeded, 9.0, {"had_parts": True}, False),
        (Aborted, 9.0, {}, False),
        (ModelRefused, 0.0, {}, False),
    ],
    ids=[
        "failed",
        "not answered",
        "no time was left",
        "its client gave it less than the model has",
        "longer than its bound",
        "the client left",
        "a bad request",
    ],
)
def test_what_counts_against_an_endpoint(
    error: type[RequestError], took_s: float, said: dict[str, Any], counts: bool
) -> None:
    ward = Ward(2)

    for _ in range(20):
        ward.call(0, error, took_s=took_s, **said)

    assert (ward.states[0] == EJECTED) is counts


def test_a_request_that_fails_everywhere_ejects_one_endpoint_at_most() -> None:
    ward = Ward(4)

    for number in range(400):
        ward.call(number % 4, ModelFailed)
        ward.sample()

    assert ward.states.count(EJECTED) <= 1
    assert ward.used


def test_the_slow_one_is_ejected_and_must_be_quick_to_come_back() -> None:
    ward = Ward(3)
    for _ in range(20):
        for number in range(3):
            ward.call(number, took_s=1.0 if number == 0 else 0.1)
    ward.sample()
    assert ward.states == [EJECTED, HEALTHY, HEALTHY]

    ward.probe(0, PROVEN)
    ward.call(0, took_s=1.0)
    assert ward.states[0] == EJECTED
    ward.probe(0, PROVEN)
    for _ in range(3):
        ward.call(0, took_s=0.1)

    assert ward.states[0] == HEALTHY
    assert ward.metrics.ejections[COLO, MODEL, SLOW] == 2
