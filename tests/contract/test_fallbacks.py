"""A model whose only instance is dead, and its fallback: entry and a real server together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from aiohttp import ClientSession

from libs.common.catalog import Model
from libs.common.envelope import InferRequest
from libs.common.errors import Unavailable
from libs.common.events.sinks import MemorySink
from libs.common.world_map import Instance
from services.entry.app import Config, serve
from services.server.endpoints import Endpoint
from tests.entry.fakes import ACCOUNT, SECRET, entry_of, place, says, small_world
from tests.fakes import ScriptedBackend, a_server, put

DEAD, ALIVE = "@cf/x/dead", "@cf/x/alive"
AI = f"/client/v4/accounts/{ACCOUNT}/ai"
CHAT = {"model": DEAD, "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("route", [f"{AI}/run/{DEAD}", "/v1/chat/completions"])
async def test_a_call_does_not_wait_for_a_dead_model_that_has_a_fallback(
    route: str, stream: bool
) -> None:
    world, backend = small_world("ams"), ScriptedBackend()
    for name, fallbacks in ((DEAD, (ALIVE,)), (ALIVE, ())):
        put(world, Model(name=name, task="text-generation", fallbacks=fallbacks))
        put(world, *place(name, "ams"))
        put(world, Instance(id=name, model=name, colo="ams", address=f"{name}:1", state="ready"))

    async def infer(endpoint: Endpoint, _: InferRequest) -> bytes:
        if endpoint.instance == DEAD:
            raise Unavailable("connection refused")
        return says("ho")

    async def parts(endpoint: Endpoint, request: InferRequest) -> AsyncGenerator[bytes, None]:
        yield await infer(endpoint, request)

    backend.on_infer, backend.on_stream = infer, parts
    server = a_server(world, backend, MemorySink(), name="server-ams")
    entry = entry_of(world, {"ams": server}, config=Config(colo="ams", http="127.0.0.1:0", grpc=""))
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with (
        serve(entry.config, entry) as bound,
        ClientSession(f"http://{bound.http}", headers=headers) as http,
        asyncio.timeout(2),  # and not the model's 30 s
    ):
        for _ in range(2):  # the one that finds out, and one that comes later
            body = CHAT if route.startswith("/v1") else {"prompt": "x"}
            answer = await http.post(route, json={**body, "stream": stream})
            assert answer.status == 200
            assert "ho" in await answer.text()
