"""The demo models in a real Triton, as a server's backend sees them: dialects, and reconnection."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.catalog import Backend, Model
from libs.common.catalog_files import load_catalog
from libs.common.errors import Unavailable
from libs.common.hops import connect
from services.entry.tasks.registry import TASKS
from services.node.drivers.triton import TritonDriver
from services.node.ports import InstanceSpec
from services.server.backends.triton import TritonBackend
from services.server.endpoints import Endpoint
from tests.fakes import a_request
from tests.system.harness import tritons_of

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("dialects")]

ROOT = Path(__file__).parents[2]
MODELS = {each.served_as: each for each in load_catalog(ROOT / "config", root=ROOT).models}
CHAT, EMBED = MODELS["text_generation"], MODELS["text_embeddings"]


def spec(model: Model) -> InstanceSpec:
    repository = ROOT / model.backend.repository
    name = model.served_as
    return InstanceSpec(id=f"n/{name}/0", model=name, served_as=name, repository=repository)


def spoken_to(model: Model, **changes: object) -> Model:
    backend: Backend = replace(model.backend, **changes)  # type: ignore[arg-type]
    return replace(model, backend=backend)


async def test_models_are_held_against_their_dialect_and_reached_again_after_a_death(
    tmp_path: Path, triton_environment: Path
) -> None:
    backend = TritonBackend(connect)
    async with TritonDriver(folder=tmp_path / "triton", environment=triton_environment) as driver:
        await driver.start(spec(CHAT))
        address = (await driver.start(spec(EMBED))).address
        there = Endpoint(instance="i", address=address, concurrency=1)

        assert await backend.flaw(there, CHAT) == ""
        assert await backend.flaw(there, EMBED) == ""
        wrong = await backend.flaw(there, spoken_to(CHAT, dialect="tensorrt_llm"))
        assert wrong
        assert "backend.dialect: vllm" in wrong
        renamed = await backend.flaw(there, spoken_to(EMBED, tensors={"text": "words"}))
        assert renamed
        assert "it has no input words (it has text BYTES[-1]" in renamed

        (pid,) = tritons_of(tmp_path)
        await embedded(backend, there)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Unavailable):
            for _ in range(50):
                await embedded(backend, there)
                await asyncio.sleep(0.02)
        while await driver.running():
            await asyncio.sleep(0.02)
        await driver.start(spec(EMBED))
        assert await seconds_until_answered(backend, there) < 5
    await backend.close()


async def test_a_model_that_was_unloaded_has_not_seen_the_call(
    tmp_path: Path, triton_environment: Path
) -> None:
    """So that it is asked elsewhere: Triton says this in other ways to a stream than to a call."""
    backend = TritonBackend(connect)
    async with TritonDriver(folder=tmp_path / "triton", environment=triton_environment) as driver:
        address = (await driver.start(spec(CHAT))).address
        await driver.start(spec(EMBED))
        there = Endpoint(instance="i", address=address, concurrency=1)
        await said(backend, there)
        await embedded(backend, there)

        await driver.stop(spec(CHAT).id)
        with pytest.raises(Unavailable, match="no such model") as by_stream:
            await said(backend, there)
        await driver.start(spec(CHAT))
        await driver.stop(spec(EMBED).id)
        with pytest.raises(Unavailable, match="no such model") as by_call:
            await embedded(backend, there)

        assert not by_stream.value.sent
        assert not by_call.value.sent
    await backend.close()


async def embedded(backend: TritonBackend, there: Endpoint) -> None:
    await asked(backend, there, EMBED, {"text": "hello"})


async def said(backend: TritonBackend, there: Endpoint) -> None:
    await asked(backend, there, CHAT, {"prompt": "hello", "max_tokens": 2})


async def asked(
    backend: TritonBackend, there: Endpoint, model: Model, body: dict[str, object]
) -> None:
    task = TASKS[model.task](model, str)
    payload = task.payload(task.parse(body), stream=False, adapter="")
    await backend.infer(there, model, a_request(payload=payload), timeout_s=5)


async def seconds_until_answered(backend: TritonBackend, there: Endpoint) -> float:
    began = time.monotonic()
    while True:
        try:
            await embedded(backend, there)
        except Unavailable:
            await asyncio.sleep(0.01)
        else:
            return time.monotonic() - began
