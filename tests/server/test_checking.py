"""Which endpoints are checked and when, and what becomes of one that does not fit."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from libs.common.catalog import Model
from libs.common.clock import ManualClock, SystemClock
from libs.common.errors import Unavailable
from libs.common.events.sinks import MemorySink
from libs.common.world import World
from libs.common.world_map import Ref, Update
from services.server.checking import AGAIN_S, Checker
from services.server.endpoints import Endpoint
from services.server.service import InferenceServer
from tests.fakes import ScriptedBackend, a_model, a_request, a_server, a_world, an_instance, put


class ScriptedCheck:
    """Says of each address what the test says."""

    def __init__(self) -> None:
        self.says: dict[str, str | None] = {}
        self.asked: list[str] = []
        self.raises: set[str] = set()

    async def flaw(self, endpoint: Endpoint, model: Model) -> str | None:
        self.asked.append(endpoint.instance)
        if endpoint.instance in self.raises:
            raise ValueError("what is that?")
        return self.says.get(endpoint.instance, "")


ONE, TWO = an_instance(0), an_instance(1)


@pytest.fixture
def world() -> World:
    return a_world(ONE, TWO)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(world: World, clock: ManualClock) -> InferenceServer:
    return a_server(world, ScriptedBackend(), MemorySink(), clock)


@pytest.fixture
def check() -> ScriptedCheck:
    return ScriptedCheck()


@pytest.fixture
def checker(server: InferenceServer, check: ScriptedCheck, clock: ManualClock) -> Checker:
    return Checker(shards=server.shards, checks={"triton": check}, clock=clock, every_s=60)


def used(server: InferenceServer) -> list[str]:
    (shard,) = server.shards
    return sorted(shard.turnstile.endpoints)


async def test_an_answer_that_makes_a_check_fail_does_not_fit_and_is_told_once(
    server: InferenceServer,
    check: ScriptedCheck,
    checker: Checker,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    check.raises.add(ONE.id)

    for _ in range(3):
        await checker.check_due()
        clock.advance(AGAIN_S)

    assert used(server) == [TWO.id]
    assert [each.levelno for each in caplog.records] == [logging.WARNING]
    assert "what is that?" in caplog.text


async def test_what_does_not_fit_is_not_used_and_told_once(
    server: InferenceServer,
    check: ScriptedCheck,
    checker: Checker,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    check.says[ONE.id] = "input a is missing"

    for _ in range(3):
        await checker.check_due()
        clock.advance(AGAIN_S)

    assert used(server) == [TWO.id]
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "input a is missing" in warnings[0]
    assert ONE.address in warnings[0]


async def test_calls_of_a_model_that_fits_nowhere_are_told_so(
    world: World, check: ScriptedCheck
) -> None:
    server = a_server(world, ScriptedBackend(), MemorySink())
    check.says = {ONE.id: "no", TWO.id: "no"}
    checks = {"triton": check}
    await Checker(shards=server.shards, checks=checks, clock=SystemClock(), every_s=60).check_due()

    with pytest.raises(Unavailable, match="not what the catalog says"):
        await server.infer(a_request(max_queue_ms=20))


async def test_what_fits_again_is_used_again(
    server: InferenceServer, check: ScriptedCheck, checker: Checker, clock: ManualClock
) -> None:
    check.says[ONE.id] = "no"
    await checker.check_due()

    check.says[ONE.id] = ""
    await checker.check_due()
    assert used(server) == [TWO.id]
    clock.advance(AGAIN_S)
    await checker.check_due()

    assert used(server) == [ONE.id, TWO.id]


async def test_an_endpoint_is_checked_when_it_is_new_or_its_model_is_and_now_and_then(
    world: World, check: ScriptedCheck, checker: Checker, clock: ManualClock
) -> None:
    await checker.check_due()
    await checker.check_due()
    assert sorted(check.asked) == [ONE.id, TWO.id]

    put(world, an_instance(2))
    await checker.check_due()
    assert check.asked[2:] == [an_instance(2).id]

    put(world, replace(ONE, address="127.0.0.1:9999"))
    await checker.check_due()
    assert check.asked[3:] == [ONE.id]

    put(world, a_model(description="changed"))
    await checker.check_due()
    assert len(check.asked) == 4 + 3

    clock.advance(60)
    await checker.check_due()
    assert len(check.asked) == 7 + 3


async def test_who_does_not_answer_is_used_and_asked_again_soon(
    server: InferenceServer, check: ScriptedCheck, checker: Checker, clock: ManualClock
) -> None:
    check.says[ONE.id] = None
    await checker.check_due()
    clock.advance(AGAIN_S)
    await checker.check_due()

    assert used(server) == [ONE.id, TWO.id]
    assert check.asked.count(ONE.id) == 2
    assert check.asked.count(TWO.id) == 1


async def test_an_instance_that_is_gone_is_forgotten(
    world: World, server: InferenceServer, check: ScriptedCheck, checker: Checker
) -> None:
    check.says[ONE.id] = "no"
    await checker.check_due()

    world.apply(Update(version=world.version + 1, deletes=(Ref(kind="instance", key=ONE.id),)))
    await checker.check_due()

    assert (used(server), server.shards.misfits) == ([TWO.id], {})
