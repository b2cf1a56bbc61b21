"""Adaptive permits: a server finds out what its endpoint bears, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from libs.common.catalog import Permits
from libs.common.events.sinks import MemorySink
from tests import virtual_time
from tests.fakes import ScriptedBackend, a_model, a_request, a_server, a_world, an_instance, put
from tests.server.looking import load

PERMITS = Permits(per_instance=16, queue=64, adaptive=True)


@pytest.mark.parametrize(
    ("adaptive", "bears", "least", "most"),
    [(True, 4, 4, 10), (True, 16, 16, 16), (False, 4, 16, 16)],
    ids=["overcommitted", "bears all", "not adaptive"],
)
def test_an_endpoint_gets_what_it_bears(adaptive: bool, bears: int, least: int, most: int) -> None:
    async def work() -> int:
        backend = ScriptedBackend()
        model = a_model(permits=replace(PERMITS, adaptive=adaptive))
        server = a_server(
            a_world(an_instance(0), model=model), backend, MemorySink(), virtual_time.VirtualClock()
        )

        async def infer(*_: object) -> bytes:
            await asyncio.sleep(0.1 * max(1.0, load(server).in_flight / bears))
            return b"done"

        backend.on_infer = infer

        async def call(seconds: float) -> None:
            end = virtual_time.now() + seconds
            while virtual_time.now() < end:
                await server.infer(a_request())

        await call(30)
        await asyncio.gather(*(call(60) for _ in range(40)))
        found = load(server)
        assert (found.in_flight, found.queued) == (0, 0)
        return found.permits

    assert least <= virtual_time.run(work()) <= most


def test_a_catalog_that_no_longer_says_adaptive_gives_all_permits_back() -> None:
    async def work() -> tuple[int, int]:
        world = a_world(an_instance(0), model=a_model(permits=PERMITS))
        server = a_server(world, ScriptedBackend(), MemorySink(), virtual_time.VirtualClock())
        (shard,) = server.shards
        (endpoint,) = shard.turnstile.endpoints.values()
        assert endpoint.limit is not None
        endpoint.limit.limit = 3.0
        endpoint.fit(PERMITS)
        before = load(server).permits

        put(world, a_model(permits=replace(PERMITS, adaptive=False)))

        return before, load(server).permits

    assert virtual_time.run(work()) == (3, 16)
