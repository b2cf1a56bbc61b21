"""Probing: who is asked when, how deep, and what is made of the answer."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest

from libs.common.clock import ManualClock
from libs.common.events.sinks import MemorySink
from libs.common.world_map import Instance
from services.server.endpoints import Endpoint
from services.server.outliers import DEAD, EJECTED, FAILING, HEALTHY, LOST, TRIAL
from services.server.ports import Depth
from services.server.probing import LOOK_S, ProbeLimits, Prober
from services.server.service import InferenceServer
from tests.fakes import ScriptedBackend, a_server, a_world, an_instance, put

LIMITS = ProbeLimits(timeout_s=0.02)


class Rounds:
    """A server with its prober, whose time is moved by hand."""

    def __init__(self, *instances: Instance, limits: ProbeLimits = LIMITS) -> None:
        self.clock = ManualClock()
        self.backend = ScriptedBackend()
        self.world = a_world(*instances)
        self.server: InferenceServer = a_server(self.world, self.backend, MemorySink(), self.clock)
        (self.shard,) = self.server.shards
        self.prober = Prober(
            limits,
            shards=self.server.shards,
            backends={"triton": self.backend},
            health=self.server.losses.health,
            clock=self.clock,
            rng=random.Random(1),
        )

    def __getitem__(self, number: int) -> Endpoint:
        return list(self.shard.turnstile.endpoints.values())[number]

    async def go_on(self, seconds: float, *, step_s: float = LOOK_S) -> Counter[Depth]:
        """Let time pass; return how often it was asked how deep."""
        self.backend.probes.clear()
        for _ in range(round(seconds / step_s)):
            self.clock.advance(step_s)
            await self.prober.probe_due()
        return Counter(depth for _, depth in self.backend.probes)

    def lose(self, number: int, *, is_dead: bool = False) -> None:
        self.server.losses.health.lost(self.shard, self[number], is_dead=is_dead)


async def test_every_endpoint_is_probed_at_its_period() -> None:
    rounds = Rounds(an_instance(0), an_instance(1))

    asked = await rounds.go_on(20)

    assert 30 <= asked["server"] == asked["model"] <= 50


async def test_new_endpoints_are_not_probed_all_at_once() -> None:
    rounds = Rounds(*(an_instance(number) for number in range(40)))
    most = 0

    for _ in range(30):
        most = max(most, (await rounds.go_on(LOOK_S))["server"])

    assert 0 < most < 16  # of 40 that came together; a tenth of a second has four, on average


async def test_endpoints_of_one_address_share_the_question_whether_anybody_is_there() -> None:
    same = [replace(an_instance(number), address="127.0.0.1:9000") for number in range(3)]
    rounds = Rounds(*same)
    await rounds.go_on(2)
    for number in range(3):
        rounds[number].condition.probe_at = rounds.clock.now()

    asked = await rounds.go_on(LOOK_S)

    assert asked == {"server": 1, "model": 3}


async def test_an_endpoint_that_says_no_or_nothing_is_ejected_within_two_probes_and_back() -> None:
    for answer in (refuses, hangs):
        rounds = Rounds(an_instance(0), an_instance(1))

        rounds.backend.on_probe = lambda e, depth, a=answer: a(e, depth)  # type: ignore[misc]
        await rounds.go_on(2.6)
        assert [rounds[n].condition.state for n in (0, 1)] == [EJECTED, HEALTHY]
        assert rounds[0].condition.cause == LOST
        rounds.backend.on_probe = rounds.backend._well
        await rounds.go_on(12)

        assert rounds[0].condition.state == HEALTHY


async def refuses(endpoint: Endpoint, depth: Depth) -> bool | None:
    return not endpoint.instance.endswith("/0")


async def hangs(endpoint: Endpoint, depth: Depth) -> bool | None:
    if endpoint.instance.endswith("/0"):
        await asyncio.sleep(9)
    return True


async def test_whoever_answers_calls_meanwhile_is_only_too_busy_for_probes() -> None:
    rounds = Rounds(an_instance(0))

    async def busy(endpoint: Endpoint, depth: Depth) -> bool | None:
        endpoint.condition.succeeded(1000, rounds.clock.now())
        return False

    rounds.backend.on_probe = busy
    await rounds.go_on(10)

    assert rounds[0].condition.state == HEALTHY


async def test_the_model_itself_is_asked_when_no_call_has_shown_that_it_answers() -> None:
    rounds = Rounds(an_instance(0))
    rounds.backend.on_probe = proven

    asked = await rounds.go_on(60)

    assert 4 <= asked["inference"] <= 6


async def test_a_model_that_answers_calls_is_not_asked() -> None:
    rounds = Rounds(an_instance(0))
    rounds.backend.on_probe = proven

    asked = Counter[Depth]()
    for _ in range(12):
        rounds[0].condition.succeeded(1000, rounds.clock.now())
        asked += await rounds.go_on(5)

    assert asked["inference"] == 0


async def proven(endpoint: Endpoint, depth: Depth) -> bool | None:
    return True


async def test_a_model_that_is_loaded_and_does_not_answer_is_ejected_and_back() -> None:
    rounds = Rounds(an_instance(0), an_instance(1))

    async def dead(endpoint: Endpoint, depth: Depth) -> bool | None:
        return depth != "inference" or endpoint.instance.endswith("/1")

    rounds.backend.on_probe = dead
    await rounds.go_on(14)
    assert [rounds[n].condition.state for n in (0, 1)] == [EJECTED, HEALTHY]
    assert rounds[0].condition.cause == FAILING
    rounds.backend.on_probe = proven
    await rounds.go_on(13)

    assert rounds[0].condition.state == HEALTHY


@pytest.mark.parametrize(
    ("answer", "state", "cause"),
    [(None, TRIAL, DEAD), (True, HEALTHY, ""), (False, EJECTED, DEAD)],
    ids=["no input for it in the catalog", "it answers", "it does not"],
)
async def test_a_dead_model_is_back_when_it_answers_or_on_trial_where_that_cannot_be_asked(
    answer: bool | None, state: str, cause: str
) -> None:
    rounds = Rounds(an_instance(0), an_instance(1))
    rounds.lose(0, is_dead=True)

    async def ready(endpoint: Endpoint, depth: Depth) -> bool | None:
        return answer if depth == "inference" else True

    rounds.backend.on_probe = ready
    await rounds.go_on(1)

    assert (rounds[0].condition.state, rounds[0].condition.cause) == (state, cause)


async def test_probes_take_no_permits() -> None:
    rounds = Rounds(an_instance(0))
    seen = []

    async def look(endpoint: Endpoint, depth: Depth) -> bool | None:
        seen.append((endpoint.in_flight, rounds.shard.turnstile.free))
        return True

    rounds.backend.on_probe = look
    await rounds.go_on(2)

    assert set(seen) == {(0, 2)}


async def test_an_endpoint_that_left_while_it_was_probed_harms_nobody() -> None:
    rounds = Rounds(an_instance(0))

    async def leave(endpoint: Endpoint, depth: Depth) -> bool | None:
        put(rounds.world, an_instance(0, state="failed"))
        rounds.server.shards.sync()
        return False

    rounds.backend.on_probe = leave
    asked = await rounds.go_on(5)

    assert asked == {"server": 1}


async def test_no_more_probes_than_allowed_are_under_way() -> None:
    rounds = Rounds(
        *(an_instance(number) for number in range(9)), limits=ProbeLimits(timeout_s=9, at_once=2)
    )
    under_way = most = 0

    async def count(endpoint: Endpoint, depth: Depth) -> bool | None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return True

    rounds.backend.on_probe = count
    rounds.clock.advance(5)
    for number in range(9):
        rounds[number].condition.probe_at = 1.0
    await rounds.prober.probe_due()

    assert most == 2
    assert len(rounds.backend.probes) == 18


async def test_a_probe_that_raises_is_a_no_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    rounds = Rounds(an_instance(0), an_instance(1))

    async def garbage(endpoint: Endpoint, depth: Depth) -> bool | None:
        if endpoint.instance.endswith("/0"):
            raise ValueError("no protobuf")
        return True

    rounds.backend.on_probe = garbage
    await rounds.go_on(9)

    assert [rounds[n].condition.state for n in (0, 1)] == [EJECTED, HEALTHY]
    warnings = [each for each in caplog.records if "a probe of" in each.getMessage()]
    assert len(warnings) == 1


async def test_a_model_that_hangs_does_not_keep_the_others_of_its_triton_away() -> None:
    same = [replace(an_instance(number), address="127.0.0.1:9000") for number in range(2)]
    rounds = Rounds(*same)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def hangs_itself(endpoint: Endpoint, depth: Depth) -> bool | None:
        if endpoint.instance.endswith("/0") and depth == "inference":
            asked.set()
            return await go_on.wait()
        return True

    rounds.backend.on_probe = hangs_itself
    await rounds.go_on(1.5)
    rounds.lose(0)
    rounds.clock.advance(1)
    first = asyncio.create_task(rounds.prober.probe_due())
    await asyncio.wait_for(asked.wait(), 2)
    rounds.lose(1)

    await asyncio.wait_for(rounds.go_on(1), 2)
    states = [rounds[n].condition.state for n in (0, 1)]
    go_on.set()
    await first

    assert states == [EJECTED, HEALTHY]
    assert rounds[0].condition.state == HEALTHY


async def test_a_prober_runs_until_it_is_cancelled() -> None:
    rounds = Rounds(an_instance(0))
    running = asyncio.create_task(rounds.prober.run())

    for _ in range(20):
        rounds.clock.advance(0.5)
        await asyncio.sleep(LOOK_S / 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert len(rounds.backend.probes) >= 2
