"""A model without a healthy instance: who waits, who goes on to a fallback, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from libs.common.envelope import InferRequest, TimeBounds
from libs.common.errors import Unavailable
from libs.common.events.sinks import MemorySink
from libs.common.world import World
from services.server.outliers import Verdict
from services.server.service import InferenceServer
from tests.fakes import ScriptedBackend, a_request, a_server
from tests.server.looking import load, raising
from tests.streams import parts_of

Ask = Callable[[InferenceServer, InferRequest], Awaitable[object]]
FALLS_BACK = a_request(falls_back=True)


async def infer(server: InferenceServer, request: InferRequest) -> object:
    return await server.infer(request)


async def stream(server: InferenceServer, request: InferRequest) -> object:
    return [each async for each in parts_of(server, request)]


def lose_all(server: InferenceServer) -> None:
    (shard,) = server.shards
    for endpoint in shard.turnstile.endpoints.values():
        server.losses.health.lost(shard, endpoint, is_dead=False)


@pytest.mark.parametrize("ask", [infer, stream])
async def test_a_call_with_a_fallback_does_not_wait_for_an_instance(
    server: InferenceServer, backend: ScriptedBackend, ask: Ask
) -> None:
    async def refused(*_: object) -> AsyncGenerator[bytes, None]:
        raise Unavailable("connection refused")
        yield b""

    backend.on_infer = raising(Unavailable("connection refused"))  # type: ignore[assignment]
    backend.on_stream = refused

    for _ in range(2):  # the one that finds out, and one that comes later
        with pytest.raises(Unavailable, match="no instance"):
            await asyncio.wait_for(ask(server, FALLS_BACK), timeout=0.5)


async def test_the_last_instance_that_is_lost_sends_those_away_who_have_a_fallback(
    server: InferenceServer, backend: ScriptedBackend
) -> None:
    backend.on_infer = lambda *_: asyncio.sleep(9)  # type: ignore[assignment]
    (shard,) = server.shards
    start = asyncio.create_task
    running = [start(server.infer(a_request())) for _ in range(shard.turnstile.permits)]
    stays, goes_on = start(server.infer(a_request())), start(server.infer(FALLS_BACK))
    await asyncio.sleep(0.02)
    assert load(server).queued == 2

    lose_all(server)

    with pytest.raises(Unavailable, match="is healthy"):
        await asyncio.wait_for(goes_on, timeout=0.5)
    assert load(server).queued == 1
    for each in (stays, *running):
        each.cancel()


async def test_an_instance_under_suspicion_is_used_before_a_fallback(
    server: InferenceServer, backend: ScriptedBackend
) -> None:
    (shard,) = server.shards
    for endpoint in shard.turnstile.endpoints.values():
        for _ in range(5):
            endpoint.condition.went_wrong(0.0)
    server.losses.health.sample(server.shards)
    assert load(server).endpoints[0].state == "backoff"

    assert await server.infer(FALLS_BACK)


async def test_who_waited_in_vain_hears_an_honest_time_to_come_again(
    world: World, backend: ScriptedBackend
) -> None:
    server = a_server(world, backend, MemorySink())
    lose_all(server)
    (shard,) = server.shards
    (endpoint,) = shard.turnstile.endpoints.values()
    for _ in range(5):  # twice as long each time
        server.losses.health.probed(shard, endpoint, Verdict(is_up=False))

    with pytest.raises(Unavailable, match="is healthy; try again in") as told:
        await server.infer(a_request(time_bounds=TimeBounds(first_part_ms=50)))

    assert 5_000 < told.value.retry_after_ms <= 12_000
