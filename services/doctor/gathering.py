"""Gathers the facts: from control, from analytics of this machine, and from the machine itself."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final

from libs.common.clients.control import ControlClient
from libs.common.clients.usage import UsageClient
from libs.common.errors import RequestError
from libs.common.process import AnalyticsStatus
from libs.common.world import World
from libs.common.world_map import ShardLoad
from services.accounts_cli import open_control
from services.doctor.facts import Facts
from services.doctor.machine_facts import look

ANALYTICS_S: Final = 3.0


async def gather(arguments: argparse.Namespace, *, apart_s: float = 0.0) -> Facts:
    """Return all that can be known; loads are looked at twice where `apart_s` is given."""
    state_dir: Path = arguments.state_dir
    address = arguments.control or f"unix:{state_dir}/control.sock"
    world, earlier, status, unreachable = World(), {}, None, ""
    try:
        async with open_control(arguments) as control:
            earlier = await _follow(control, world, apart_s)
            status = await control.status()
    except RequestError as error:
        unreachable = str(error)
    machine, analytics, analytics_away = None, None, ""
    if not arguments.control:
        seen = partial(look, state_dir, arguments.config, os.environ, runs=not unreachable)
        machine = await asyncio.to_thread(seen)
        if not unreachable:
            analytics, analytics_away = await _analytics(state_dir / "usage.sock")
    return Facts(
        at_ms=time.time_ns() // 1_000_000,
        control=address,
        unreachable=unreachable,
        status=status,
        world=world,
        earlier=earlier,
        analytics=analytics,
        analytics_away=analytics_away,
        machine=machine,
    )


async def _follow(control: ControlClient, world: World, apart_s: float) -> dict[str, ShardLoad]:
    """Bring a world up to date, and return the loads that were there `apart_s` before."""
    async with aclosing(control.watch()) as updates:
        world.apply(await anext(updates))
        earlier = dict(world.table(ShardLoad))
        if apart_s:
            try:
                async with asyncio.timeout(apart_s):
                    async for update in updates:
                        world.apply(update)
            except TimeoutError:
                pass
    return earlier


async def _analytics(socket: Path) -> tuple[AnalyticsStatus | None, str]:
    """Return how analytics of this machine is, or why that is not known; nothing: it has none."""
    if not socket.exists():  # noqa: ASYNC240  # one look at a local file
        return None, ""
    try:
        async with UsageClient(f"unix:{socket}", timeout_s=ANALYTICS_S) as client:
            return await client.status(), ""
    except RequestError as error:
        return None, str(error)
