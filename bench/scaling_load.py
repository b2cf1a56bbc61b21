"""The load of `bench scaling`: calls at random times, as many in flight as a step says."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from bench.workloads import ACCOUNT, TOKEN

MODEL = "@cf/demo/text-generation"
TOKENS, TOKEN_MS = 10, 200
SERVICE_S = TOKENS * TOKEN_MS / 1000
CALL_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What became of a call that was sent `at_s` after the beginning."""

    at_s: float
    status: int  # 0: its connection was lost, or its stream
    first_s: float  # until its first part, or its end where there was none
    took_s: float


async def calls(base: str, *, loads: Sequence[float], step_s: float, seed: int) -> list[Call]:
    """Call for a step with each load, and return what became of every call."""
    rng = random.Random(seed)
    began = time.monotonic()
    timeout = aiohttp.ClientTimeout(CALL_S)
    async with (
        aiohttp.ClientSession(
            base,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=timeout,
            headers={"Authorization": f"Bearer {TOKEN}"},
        ) as session,
        asyncio.TaskGroup() as group,
    ):
        made, at_s = [], 0.0
        for number, load in enumerate(loads):
            while (at_s := at_s + rng.expovariate(load / SERVICE_S)) < (number + 1) * step_s:
                await asyncio.sleep(max(0.0, began + at_s - time.monotonic()))
                made.append(group.create_task(_call(session, began)))
            at_s = (number + 1) * step_s
    return [each.result() for each in made]


async def _call(session: aiohttp.ClientSession, began: float) -> Call:
    sent, first, status, is_whole = time.monotonic(), 0.0, 0, False
    body = {"prompt": "Tell me a story.", "stream": True, "max_tokens": TOKENS}
    try:
        path = f"/client/v4/accounts/{ACCOUNT}/ai/run/{MODEL}"
        async with session.post(path, json=body) as response:
            async for line in response.content:
                first = first or time.monotonic()
                is_whole = is_whole or b"[DONE]" in line
            status = response.status if is_whole or response.status != 200 else 0
    except (aiohttp.ClientError, TimeoutError):
        status = 0
    now = time.monotonic()
    return Call(at_s=sent - began, status=status, first_s=(first or now) - sent, took_s=now - sent)
