"""Health: ejecting, trying and taking back the endpoints of a shard, and saying so."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from libs.common.catalog import Permits
from libs.common.clock import ManualClock
from libs.common.envelope import TimeBounds, Timings
from libs.common.errors import Aborted, DeadlineExceeded, ModelFailed, ModelRefused, RequestError
from libs.common.world_map import Instance
from services.server.endpoints import Endpoint
from services.server.health import Health
from services.server.metrics import ServerMetrics
from services.server.outliers import (
    DEAD,
    EJECTED,
    FAILING,
    HEALTHY,
    LOST,
    SLOW,
    TRIAL,
    Limits,
    Verdict,
)
from services.server.shards import Shards
from services.server.turnstile import Lease
from services.server.witnesses import LATELY_S
from tests.fakes import COLO, MODEL, SERVER, a_model, a_request, a_world, an_instance, put
from tests.server.looking import recorded

UP, DOWN = Verdict(is_up=True), Verdict(is_up=False)
PROVEN = Verdict(is_up=True, is_proven=True)
TWO = Permits(per_instance=2)
# As entry sets them where a client says nothing, less what the way took.
MODELS = TimeBounds(first_part_ms=29_990, idle_ms=30_000, total_ms=599_990)
OWN = TimeBounds(first_part_ms=29_990, idle_ms=30_000, total_ms=5_000)


class Ward:
    """A shard with some endpoints, its health, and time that moves by hand."""

    def __init__(self, endpoints: int, *, permits: Permits = TWO, **limits: float) -> None:
        self.clock = ManualClock()
        self.metrics = ServerMetrics(CollectorRegistry())
        self.limits = Limits(**limits)  # type: ignore[arg-type]
        self.health = Health(
            self.limits, metrics=self.metrics, clock=self.clock, rng=random.Random(1)
        )
        instances = [an_instance(number) for number in range(endpoints)]
        self.world = a_world(*instances, model=a_model(permits=permits))
        self.shards = Shards(server=SERVER, colo=COLO, world=self.world, rng=random.Random(1))
        self.shards.sync()
        (self.shard,) = self.shards

    @property
    def endpoints(self) -> list[Endpoint]:
        return list(self.shard.turnstile.endpoints.values())

    @property
    def states(self) -> list[str]:
        return [each.condition.state for each in self.endpoints]

    @property
    def used(self) -> list[int]:
        """The endpoints that calls are sent to."""
        return [n for n, each in enumerate(self.endpoints) if each.state == "healthy"]

    def call(
        self,
        number: int,
        error: type[RequestError] | None = None,
        *,
        took_s: float = 0.01,
        account: str = "a",
        bounds: TimeBounds = MODELS,
        had_parts: bool = False,
    ) -> None:
        """Let one call of an endpoint end."""
        lease = Lease(self.shard.turnstile, self.endpoints[number], "", 1)
        request = a_request(account=account, time_bounds=bounds)
        record = recorded(request=request, shard=self.shard)
        record.first_part_at = self.clock.now() if had_parts else 0.0
        record.lease, record.leased_at = lease, self.clock.now()
        self.clock.advance(took_s)
        record.error = error
        took_us = int(took_s * 1_000_000)
        record.timings = Timings(forward_us=took_us, first_part_us=took_us)
        self.health.ended(record)

    def sample(self) -> None:
        self.clock.advance(0.5)
        self.health.sample(self.shards)

    def probe(self, number: int, verdict: Verdict, *, after_s: float = 13.0) -> None:
        self.clock.advance(after_s)
        self.health.probed(self.shard, self.endpoints[number], verdict)


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
