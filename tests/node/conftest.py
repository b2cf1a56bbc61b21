"""An agent over a fake driver, for the tests that ask for one."""

from collections.abc import AsyncIterator

import pytest

from libs.common.lifecycle import background
from libs.common.world import World
from services.node import agent as agents
from services.node.agent import Agent
from services.node.ports import SetupRun
from tests.fakes import a_world
from tests.node.agents import FakeDriver, an_agent


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
    made = an_agent(world, driver, boots)
    async with background(made.run(), name="agent") as task:
        yield made
        assert not task.done()
