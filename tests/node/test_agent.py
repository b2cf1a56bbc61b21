"""The agent over a driver that boots, fails and dies on demand."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.catalog import Finetune, Model, Resources
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
        self.stop_error: Exception | None = None
        self.stops = 0
        self.loading: set[str] = set()  # who boots until it is let go, or stopped
        self.slow: set[str] = set()  # who boots so
        self.loaded = asyncio.Event()

    async def start(self, spec: InstanceSpec) -> RunningInstance:
        self.started.append(spec)
        await asyncio.sleep(0)
        if spec.id in self.slow:
            self.loading.add(spec.id)  # and goes on if who waits for it leaves
            await self.loaded.wait()
            self.loading.discard(spec.id)
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
        self.stops += 1
        if self.stop_error:
            raise self.stop_error
        self.loading.discard(instance_id)
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


def an_agent(world: World, driver: FakeDriver, boots: list[SetupRun]) -> Agent:
    return Agent(
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


@pytest.fixture
async def agent(
    world: World, driver: FakeDriver, boots: list[SetupRun], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Agent]:
    monkeypatch.setattr(agents, "LEAST_DRAIN_S", 0.05)
    made = an_agent(world, driver, boots)
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


async def test_a_scale_down_keeps_the_one_that_serves(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    agent._longest_backoff_s = 60.0
    await assign(world, 2)
    await until_states(agent, _0="ready", _1="ready")
    driver.error = RuntimeError("it does not come back")
    agent._managed[FIRST].failures = 7  # so that it waits before it is started again
    del driver.alive[FIRST]
    await until_states(agent, _0="failed", _1="ready")

    await assign(world, 1)

    await until_states(agent, _1="ready")
    assert set(driver.alive) == {SECOND}


async def test_one_that_dies_as_another_drains_has_that_one_serve_again(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    await assign(world, 2)
    put(world, serving("healthy", 1, FIRST))
    await until_states(agent, _0="ready", _1="ready")
    put(world, serving("healthy", 1, FIRST), replace(serving("healthy", 1), index=1))
    await assign(world, 1)
    await until_states(agent, _0="ready", _1="draining")

    driver.error = RuntimeError("it does not come back")
    del driver.alive[FIRST]

    await until_states(agent, _1="ready")


async def test_a_boot_that_is_wanted_no_more_is_cancelled_at_once(
    world: World, agent: Agent, driver: FakeDriver, boots: list[SetupRun]
) -> None:
    driver.slow = {SECOND}
    await assign(world, 2)
    await until_states(agent, _0="ready", _1="booting")
    assert driver.loading == {SECOND}

    await assign(world, 1)

    await until_states(agent, _0="ready")
    await until(lambda: not driver.loading and not agent._stopping)
    assert set(driver.alive) == {FIRST}
    assert [(each.instance, each.status, each.error) for each in boots] == [
        (FIRST, "ready", ""),
        (SECOND, "canceled", ""),
    ]
    await assign(world, 2)
    driver.slow = set()
    await until_states(agent, _0="ready", _1="ready")


async def test_the_newest_boot_is_cancelled_and_the_older_goes_on(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    driver.slow = {FIRST, SECOND}
    await assign(world, 1)
    await until(lambda: driver.loading == {FIRST})
    await asyncio.sleep(0.002)  # since when is told in milliseconds
    await assign(world, 2)
    await until(lambda: driver.loading == {FIRST, SECOND})

    await assign(world, 1)
    await until(lambda: driver.loading == {FIRST})
    driver.loaded.set()

    await until_states(agent, _0="ready")
    assert [each.id for each in driver.started] == [FIRST, SECOND]


async def test_a_cancelled_boots_place_is_free_for_another(
    world: World, driver: FakeDriver, agent: Agent
) -> None:
    needs = Resources(cpus=1.0)
    other = replace(world.table(Model)[MODEL], name="@cf/other", resources=needs)
    other = replace(other, backend=replace(other.backend, served_as="other"))
    put(world, replace(world.table(Model)[MODEL], resources=needs), other)
    agent._me = replace(agent._me, cpus=1.0)
    driver.slow = {FIRST}
    await assign(world, 1)
    await until(lambda: driver.loading == {FIRST})

    await assign(world, 0)
    put(world, Assignment(node=NODE, model="@cf/other", instances=1))

    await until(lambda: "ams-node/other/0" in driver.alive)
    assert not driver.loading


async def test_a_boot_that_ends_as_it_is_cancelled_leaves_nothing(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    """The schedule: the driver has it running, the agent's task has not heard; then it is to go."""
    driver.slow = {FIRST}
    await assign(world, 1)
    await until(lambda: driver.loading == {FIRST})

    driver.loaded.set()
    driver.alive[FIRST] = RunningInstance(id=FIRST, model=MODEL, address="", spec=driver.started[0])
    await assign(world, 0)
    agent._boots[FIRST].cancel()

    await until_states(agent)
    await until(lambda: not driver.alive and not driver.loading)


async def test_a_boot_of_what_is_outdated_by_now_begins_anew(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    driver.slow = {FIRST}
    await assign(world, 1)
    await until(lambda: driver.loading == {FIRST})
    before = world.table(Model)[MODEL]
    driver.slow = set()

    backend = replace(before.backend, repository="another", served_as="echo")
    put(world, replace(before, backend=backend))

    await until_states(agent, _0="ready")
    assert [each.repository.name for each in driver.started] == ["echo", "another"]
    assert not driver.loading


async def test_the_agents_end_tells_of_the_boots_that_it_cancels(
    world: World, driver: FakeDriver, boots: list[SetupRun]
) -> None:
    made = an_agent(world, driver, boots)
    driver.slow = {FIRST}
    await assign(world, 1)
    async with background(made.run(), name="agent"):
        await until(lambda: driver.loading == {FIRST})

    assert [each.status for each in boots] == ["canceled"]


async def test_what_cannot_be_stopped_is_not_given_back_to_servers(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    seen: set[str] = set()
    await assign(world, 1)
    await until_states(agent, _0="ready")
    driver.stop_error = OSError("the engine is away")
    await assign(world, 0)
    await until_states(agent, _0="draining")

    async with asyncio.timeout(3):
        while driver.stops < 4:
            seen |= {each.state for each in agent.report().resources if isinstance(each, Instance)}
            await asyncio.sleep(0.005)

    (stuck,) = await until_states(agent, _0="draining")
    assert seen == {"draining"}
    assert stuck.message == "could not be stopped: OSError('the engine is away')"
    await assign(world, 1)  # not that one again: it may be half gone
    await until_states(agent, _0="draining", _1="ready")
    driver.stop_error = None
    await until_states(agent, _1="ready")
    assert set(driver.alive) == {SECOND}


async def test_a_stop_that_fails_is_tried_again_later_and_later(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    agent._longest_backoff_s = 60.0
    driver.stop_error = OSError("no")
    driver.alive[FIRST] = RunningInstance(id=FIRST, model=MODEL, address="127.0.0.1:5")

    await until(lambda: driver.stops == 1 and not agent._stopping)
    stuck = agent._managed[FIRST]

    assert stuck.stop_at - agent._clock.now() > 0.8
    stuck.stop_at = 0.0
    await until(lambda: driver.stops == 2 and not agent._stopping)
    assert stuck.stop_at - agent._clock.now() > 1.8


async def test_a_cancelled_boot_that_cannot_be_stopped_is_told_and_holds_its_place(
    world: World, agent: Agent, driver: FakeDriver
) -> None:
    driver.slow = {FIRST}
    await assign(world, 1)
    await until(lambda: driver.loading == {FIRST})
    driver.stop_error = OSError("no")

    await assign(world, 0)

    (stuck,) = await until_states(agent, _0="failed")
    assert stuck.message == "could not be stopped: OSError('no')"
    assert agent._managed[FIRST].may_run
    driver.stop_error = None
    await until_states(agent)
    assert not driver.loading
