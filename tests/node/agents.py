"""An agent over a driver that boots, fails and dies on demand."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from libs.common.clock import SystemClock
from libs.common.world import World
from libs.common.world_map import (
    Assignment,
    EndpointLoad,
    Instance,
    Node,
    ShardLoad,
)
from services.node.agent import Agent
from services.node.ports import BootFailed, InstanceSpec, RunningInstance, SetupRun
from tests.fakes import MODEL, put

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


def serving(state: str, in_flight: int, instance: str = SECOND) -> ShardLoad:
    endpoint = EndpointLoad(instance=instance, address="", state=state, in_flight=in_flight)  # type: ignore[arg-type]
    return ShardLoad(model=MODEL, colo="ams", index=0, server="s", endpoints=(endpoint,))
