"""Whom an agent lets go, what becomes of boots that are wanted no more, and of stops that fail."""

import asyncio
from dataclasses import replace

from libs.common.catalog import Model, Resources
from libs.common.lifecycle import background
from libs.common.world import World
from libs.common.world_map import (
    Assignment,
    Instance,
)
from services.node.agent import Agent
from services.node.ports import RunningInstance, SetupRun
from tests.fakes import MODEL, put
from tests.node.agents import (
    FIRST,
    NODE,
    SECOND,
    FakeDriver,
    an_agent,
    assign,
    serving,
    until_states,
)
from tests.waiting import until


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
