"""A gateway over fake servers, and the calls that it is asked to run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from libs.common.clock import ManualClock
from libs.common.world import World
from libs.common.world_map import Token
from services.entry.calls import Call, Told
from services.entry.gateway import Gateway
from tests.entry.fakes import (
    ACCOUNT,
    TEXT,
    FakeServer,
    entry_of,
    small_world,
)

TOKEN = Token(hash="", account=ACCOUNT, max_priority=6)


def call(
    body: dict[str, Any] | None = None, model: str = TEXT, task: str = "", **told: Any
) -> Call:
    return Call(
        token=TOKEN,
        model=model,
        body=body or {"prompt": "hi"},
        tasks=(task,) if task else (),
        client_request_id="c",
        bytes_in=9,
        told=Told(**told),
    )


def gateway(world: World | None = None, **servers: FakeServer) -> Gateway:
    return entry_of(world or small_world(*servers), servers, clock=ManualClock()).gateway


async def read(stream: AsyncGenerator[Sequence[dict[str, Any]], None]) -> list[dict[str, Any]]:
    async with aclosing(stream):
        return [each async for results in stream for each in results]
