"""What the tests of a control plane watch with, and what they report."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.common.backoff import Backoff
from libs.common.clients.control import ControlClient
from libs.common.world import World, follow
from libs.common.world_map import (
    Report,
    Resource,
    Server,
    Shard,
)
from services.control.service import Control

Plane = Control | ControlClient
QUICK = Backoff(first_s=0.02, most_s=0.1)


@asynccontextmanager
async def following(plane: Plane) -> AsyncIterator[World]:
    world = World()
    task = asyncio.create_task(follow(plane, world, backoff=QUICK))
    try:
        await seen(world, lambda world: world.complete)
        yield world
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def seen(world: World, condition: object) -> None:
    await asyncio.wait_for(world.until(condition), 5)  # type: ignore[arg-type]


def owner(world: World, key: str) -> str | None:
    shard = world.table(Shard).get(key)
    return shard.owner if shard else None


def server_report(name: str = "s1", *loads: Resource, draining: bool = False) -> Report:
    server = Server(name=name, colo="ams", address="local", boot_epoch=5, draining=draining)
    return Report(kind="server", name=name, colo="ams", resources=(server, *loads))


class Stream:
    """A report stream that the test feeds."""

    def __init__(self, plane: Plane) -> None:
        self.queue: asyncio.Queue[Report | None] = asyncio.Queue()
        self.task = asyncio.create_task(plane.report(self._reports()))

    async def _reports(self) -> AsyncIterator[Report]:
        while (report := await self.queue.get()) is not None:
            yield report

    def say(self, report: Report) -> None:
        self.queue.put_nowait(report)

    async def goodbye(self) -> None:
        self.queue.put_nowait(None)
        await asyncio.wait_for(self.task, 5)

    async def lose(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
