"""The unary call within one process: how few of our frames stand between front and backend."""

from __future__ import annotations

import traceback

import aiohttp
import pytest

from libs.common.envelope import InferRequest
from libs.common.events.sinks import MemorySink
from libs.common.world_map import Instance
from services.entry.app import Config, serve
from services.server.endpoints import Endpoint
from tests.entry.fakes import ACCOUNT, SECRET, TEXT, entry_of, says, small_world
from tests.fakes import ScriptedBackend, a_server, put

FRAMES = [
    "services/entry/fronts/hot.py handle",
    "services/entry/fronts/exchange.py run",
    "services/entry/fronts/workers_ai.py run",
    "services/entry/gateway.py run",
    "services/server/service.py infer",
]


@pytest.mark.interpreted
async def test_five_frames_stand_before_the_backend() -> None:
    world, backend = small_world("ams"), ScriptedBackend()
    put(world, Instance(id="i", model=TEXT, colo="ams", address="a:1", state="ready"))
    seen: list[str] = []

    async def look(_: Endpoint, __: InferRequest) -> bytes:
        ours = [f for f in traceback.extract_stack() if "/services/" in f.filename]
        seen.extend(f"services/{f.filename.split('/services/')[1]} {f.name}" for f in ours)
        return says("hello")

    backend.on_infer = look
    server = a_server(world, backend, MemorySink(), name="server-ams")
    entry = entry_of(world, {"ams": server}, config=Config(colo="ams", http="127.0.0.1:0", grpc=""))
    async with serve(entry.config, entry) as bound, aiohttp.ClientSession() as session:
        url = f"http://{bound.http}/client/v4/accounts/{ACCOUNT}/ai/run/{TEXT}"
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with session.post(url, json={"prompt": "hi"}, headers=headers) as answer:
            body = await answer.json()

    assert body["result"]["response"] == "hello"
    assert seen == FRAMES  # the backend's own is the sixth, which is the bound
