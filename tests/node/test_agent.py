"""The agent over a driver that boots, fails and dies on demand."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.catalog import Finetune, Model
from libs.common.clock import SystemClock
from libs.common.lifecycle import background
from libs.common.world import World
from libs.common.world_map import (
    Assignment,
    EndpointLoad,
    Instance,
    Node,
    ShardLoad,
)
from services.node import agent as agents
from services.node.agent import Agent
from services.node.ports import BootFailed, InstanceSpec, RunningInstance, SetupRun
from tests.fakes import MODEL, a_world, put
from tests.waiting import until

NODE = "ams-node"
FIRST, SECOND = "ams-node/echo/0", "ams-node/echo/1"


class FakeDriver:
    """Instances that are nothing but names."""

    def __init__(self) -> None:
        self.alive: dict[str, RunningInstance] = {}
        self.started: list[InstanceSpec] = []
        self.failures = 0
        self.error: Exception | None = None

    async def start(self, spec: InstanceSpec) -> RunningInstance:
        self.started.append(spec)
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        if self.failures:
            self.failures -= 1
            raise BootFailed("no memory", log="the log")
        self.alive[spec.id] = RunningInstance(
            id=spec.id, model=spec.model, address="127.0.0.1:1", log="it is up", spec=spec
        )
        return self.alive[spec.id]

    async def stop(self, instance_id: str) -> None:
        self.alive.pop(instance_id, None)

    async def running(self) -> Mapping[str, RunningInstance]:
        return dict(self.alive)

    def why_died(self, instance_id: str) -> str:
        return f"{instance_id} was killed"


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def world() -> World:
    return a_world()


@pytest.fixture
def boots() -> list[SetupRun]:
    return []


@pytest.fixture
async def agent(
    world: World, driver: FakeDriver, boots: list[SetupRun], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Agent]:
    monkeypatch.setattr(agents, "LEAST_DRAIN_S", 0.05)
    made = Agent(
        me=Node(name=NODE, colo="ams"),
        world=world,
        driver=driver,
        root=Path("root"),
        clock=SystemClock(),
        step_s=0.01,
        drain_s=5.0,
        longest_backoff_s=0.05,
        booted=boots.append,
    )
    async with background(made.run(), name="agent") as task:
        yield made
        assert not task.done()


async def assign(world: World, count: int) -> None:
    put(world, Assignment(node=NODE, model=MODEL, instances=count))


async def until_states(agent: Agent, **expected: str) -> list[Instance]:
    wanted = {f"ams-node/echo/{slot[1:]}": state for slot, state in expected.items()}
    async with asyncio.timeout(3):
        while True:
            found = [each for each in agent.report().resources if isinstance(each, Instance)]
            if {each.id: each.state for each in found} == wanted:
                return found
            await asyncio.sleep(0.005)


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


def serving(state: str, in_flight: int, instance: str = SECOND) -> ShardLoad:
    endpoint = EndpointLoad(instance=instance, address="", state=state, in_flight=in_flight)  # type: ignore[arg-type]
    return ShardLoad(model=MODEL, colo="ams", index=0, server="s", endpoints=(endpoint,))


async def test_the_newest_is_drained_and_stopped_when_its_servers_have_let_go(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    await assign(world, 2)
    put(world, serving("healthy", 1))
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
