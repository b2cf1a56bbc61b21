"""The agent over a driver that boots, fails and dies on demand."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.catalog import Finetune, Model
from libs.common.world import World
from services.node import agent as agents
from services.node.agent import Agent
from services.node.ports import BootFailed, RunningInstance, SetupRun
from tests.fakes import MODEL, put
from tests.node.agents import (
    FIRST,
    NODE,
    SECOND,
    FakeDriver,
    assign,
    serving,
    until_states,
)
from tests.waiting import until


async def test_assigned_instances_are_started_and_reported(world: World, agent: Agent) -> None:
    await assign(world, 2)

    first, _ = await until_states(agent, _0="ready", _1="ready")

    assert (first.address, first.colo, first.node) == ("127.0.0.1:1", "ams", NODE)


async def test_what_is_settled_is_only_looked_at_until_there_is_news(
    world: World, agent: Agent, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "SETTLED_S", 60.0)
    await assign(world, 1)
    await until_states(agent, _0="ready")
    await until(lambda: agent._settled_until)

    driver.alive.clear()  # it died
    await until(lambda: len(driver.started) == 2)
    await until_states(agent, _0="ready")
    await until(lambda: agent._settled_until)
    await assign(world, 2)

    await until_states(agent, _0="ready", _1="ready")


async def test_one_that_died_is_reported_with_the_reason(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    await assign(world, 1)
    await until_states(agent, _0="ready")
    driver.error = RuntimeError("and it does not come back")

    driver.alive.clear()
    agent._longest_backoff_s = 60.0
    agent._managed["ams-node/echo/0"].failures = 1  # so that it waits before it is started again

    (failed,) = await until_states(agent, _0="failed")
    assert failed.message == "ams-node/echo/0 was killed"


async def test_a_failed_boot_is_reported_with_its_log_and_tried_again(
    world: World, agent: Agent, driver: FakeDriver, boots: list[SetupRun]
) -> None:
    driver.failures = 2
    await assign(world, 1)

    (failed,) = await until_states(agent, _0="failed")
    assert failed.message == "no memory\nthe log"

    await until_states(agent, _0="ready")
    assert len(driver.started) == 3
    assert [(each.status, each.error, each.logs) for each in boots] == [
        ("failed", "no memory", "the log"),
        ("failed", "no memory", "the log"),
        ("ready", "", "it is up"),
    ]
    assert all(e.scheduled_ms <= e.started_ms <= e.completed_ms for e in boots)
    assert len({each.scheduled_ms for each in boots}) == 1


async def test_one_that_dies_is_started_again(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    await assign(world, 1)
    await until_states(agent, _0="ready")

    driver.alive.clear()

    async with asyncio.timeout(3):
        while not driver.alive:
            await asyncio.sleep(0.01)
    await until_states(agent, _0="ready")


async def test_the_least_busy_is_drained_and_stopped_when_its_servers_have_let_go(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    await assign(world, 2)
    put(world, serving("healthy", 1), replace(serving("healthy", 2, FIRST), index=1))
    await until_states(agent, _0="ready", _1="ready")

    await assign(world, 1)
    await until_states(agent, _0="ready", _1="draining")
    put(world, serving("draining", 1))
    await asyncio.sleep(0.1)
    assert SECOND in driver.alive

    put(world, serving("draining", 0))
    await until_states(agent, _0="ready")
    assert set(driver.alive) == {FIRST}


async def test_one_that_leaves_lets_its_servers_let_go_first(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    await assign(world, 1)
    put(world, serving("healthy", 1, FIRST))
    await until_states(agent, _0="ready")

    leaving = asyncio.create_task(agent.leave())
    await until_states(agent, _0="draining")
    put(world, serving("draining", 1, FIRST))
    await asyncio.sleep(0.1)
    assert FIRST in driver.alive
    assert not leaving.done()

    put(world, serving("draining", 0, FIRST))
    await asyncio.wait_for(leaving, 3)
    assert driver.alive == {}


async def test_one_that_leaves_waits_no_longer_than_a_drain(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    agent._drain_s = 0.1
    await assign(world, 1)
    put(world, serving("healthy", 1, FIRST))
    await until_states(agent, _0="ready")

    await asyncio.wait_for(agent.leave(), 3)


async def test_one_that_is_wanted_again_is_not_stopped(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    await assign(world, 1)
    put(world, serving("healthy", 1))
    await until_states(agent, _0="ready")
    await assign(world, 0)
    await until_states(agent, _0="draining")

    await assign(world, 1)

    await until_states(agent, _0="ready")
    assert len(driver.started) == 1


async def test_a_model_that_becomes_another_is_drained_before_it_is_started_anew(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    await assign(world, 1)
    put(world, serving("healthy", 1, FIRST))
    await until_states(agent, _0="ready")
    before = world.table(Model)[MODEL]

    put(world, replace(before, backend=replace(before.backend, command=("serve", "{port}"))))
    await until_states(agent, _0="draining")
    await asyncio.sleep(0.1)
    assert driver.alive[FIRST].spec == driver.started[0]

    put(world, serving("draining", 0, FIRST))
    await until(lambda: len(driver.started) == 2)
    assert driver.started[1].command == ("serve", "{port}")
    await until_states(agent, _0="ready")


async def test_what_runs_already_is_adopted(world: World, agent: Agent, driver: FakeDriver) -> None:
    driver.alive[FIRST] = RunningInstance(id=FIRST, model=MODEL, address="127.0.0.1:5")
    await assign(world, 1)

    (adopted,) = await until_states(agent, _0="ready")

    assert adopted.address == "127.0.0.1:5"
    assert driver.started == []


async def test_what_is_adopted_gets_the_finetunes_that_came_meanwhile(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    driver.alive[FIRST] = RunningInstance(id=FIRST, model=MODEL, address="127.0.0.1:5")
    put(world, Finetune(id="f1", name="pirate", model=MODEL, adapter="adapters/pirate"))

    await assign(world, 1)

    async with asyncio.timeout(3):
        while not driver.started:
            await asyncio.sleep(0.01)
    assert driver.started[-1].adapters == {"f1": Path("root/adapters/pirate")}


async def test_a_new_finetune_is_linked_into_what_runs(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    await assign(world, 1)
    await until_states(agent, _0="ready")

    put(world, Finetune(id="f1", name="pirate", model=MODEL, adapter="adapters/pirate"))

    async with asyncio.timeout(3):
        while len(driver.started) < 2:
            await asyncio.sleep(0.01)
    assert driver.started[-1].adapters == {"f1": Path("root/adapters/pirate")}
    await until_states(agent, _0="ready")


async def test_what_runs_but_is_not_wanted_is_drained_and_stopped(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    driver.alive[SECOND] = RunningInstance(id=SECOND, model=MODEL, address="127.0.0.1:5")

    await until_states(agent, _1="draining")

    await until_states(agent)
    assert driver.alive == {}


async def test_a_boot_that_fails_for_a_reason_of_ours_is_tried_again(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    driver.error = OSError(28, "No space left on device")
    await assign(world, 1)
    (failed,) = await until_states(agent, _0="failed")
    assert "No space left" in failed.message

    driver.error = None

    await until_states(agent, _0="ready")


async def test_adapters_that_cannot_be_placed_leave_the_instance_as_it_was(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    await assign(world, 1)
    await until_states(agent, _0="ready")
    driver.error = BootFailed("'a/b' cannot be the name of an adapter")

    put(world, Finetune(id="a/b", name="bad", model=MODEL, adapter="adapters/bad"))
    async with asyncio.timeout(3):
        while len(driver.started) < 2:
            await asyncio.sleep(0.01)

    await until_states(agent, _0="ready")
