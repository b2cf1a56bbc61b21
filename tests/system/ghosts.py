"""Reporters that only say that they are there: a server nobody reaches, a node that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from libs.common.clients.control import ControlClient
from libs.common.errors import RequestError
from libs.common.world_map import Node, Report, Resource, Server, Shard, ShardLoad
from services.control.ownership import score


async def haunt(state: Path, *, model: str, colo: str, rival: str, seconds: float) -> None:
    """Own a model's shard in a colo for a while, in a rival's place, and answer no call of it."""
    shard = Shard(model=model, colo=colo, index=0, owner="", epoch=0)
    names = (f"{colo}-ghost-{number}" for number in range(100))
    name = next(each for each in names if score(shard, each) > score(shard, rival))
    nowhere = "127.0.0.1:1"
    resources = (
        Server(name=name, colo=colo, address=nowhere, boot_epoch=1),
        ShardLoad(model=model, colo=colo, index=0, server=name, permits=64, free=64),
    )
    await _report(state, Report(kind="server", name=name, colo=colo, resources=resources), seconds)


async def pass_by(state: Path, *, name: str, colo: str) -> None:
    """Be a node once, and be heard no more."""
    resources: tuple[Resource, ...] = (Node(name=name, colo=colo),)
    await _report(state, Report(kind="node", name=name, colo=colo, resources=resources), 0.2)


async def _report(state: Path, report: Report, seconds: float) -> None:
    async def reports() -> AsyncIterator[Report]:
        for _ in range(max(1, round(seconds / 0.1))):
            yield report
            await asyncio.sleep(0.1)

    async with ControlClient(f"unix:{state}/control.sock") as control:
        try:
            await control.report(reports())
        except RequestError:
            return
