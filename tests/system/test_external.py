"""`CONSTELLATION_TRITON`: a Triton that others run serves all demo models."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from services.node.drivers.triton import TritonDriver
from services.node.ports import InstanceSpec
from tests.short_dirs import short_dir
from tests.system.harness import CHAT, EMBED, ROOT, Up, cleaned_up, tritons_of, until

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("up")]


def spec(name: str) -> InstanceSpec:
    return InstanceSpec(
        id=f"theirs/{name}/0", model=name, served_as=name, repository=ROOT / "models" / name
    )


async def start_triton(folder: Path) -> str:
    """Start one Triton with both models, which stays when this returns."""
    async with TritonDriver(
        folder=folder / "triton", environment=ROOT / ".triton", detach=True
    ) as driver:
        await driver.start(spec("text_generation"))
        return (await driver.start(spec("text_embeddings"))).address


def test_a_triton_of_others_serves_the_demo_models(own: Callable[..., Up], state: Path) -> None:
    with short_dir() as folder, cleaned_up(folder):
        address = asyncio.run(start_triton(folder))
        (state / "catalog" / "models").mkdir(parents=True)  # last time the catalog was another
        up = own(env={"CONSTELLATION_TRITON": address})

        assert tritons_of(state) == {}
        assert up.client.run(CHAT, prompt="Hello!", max_tokens=4).status_code == 200
        assert up.client.run(EMBED, text="hello").status_code == 200

        for pid in tritons_of(folder):
            os.kill(pid, signal.SIGKILL)
        lost = up.client.http.post(
            f"{up.client.account}/ai/run/{CHAT}",
            json={"prompt": "Hello!"},
            headers={"x-stainless-read-timeout": "3"},
        )
        assert lost.status_code == 503  # nobody here may start it again
        assert int(lost.headers["retry-after"]) >= 1

        assert asyncio.run(start_triton(folder)) == address
        until(
            lambda: up.client.run(CHAT, prompt="Hello!", max_tokens=4).status_code == 200,
            seconds=30,
            what="it answers again",
        )
        assert up.service.stop() == 0
