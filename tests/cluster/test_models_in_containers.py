"""`constellation up` with its models in containers of a real engine: killed, removed, adopted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.node.drivers.docker_engine import Container
from tests.cluster.fleets import HOST, IMAGE, Containers, a_fleet
from tests.short_dirs import short_dir
from tests.system.harness import CHAT, Up, cleaned_up, processes_of

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),  # the first test builds the image
    pytest.mark.usefixtures("images"),
]


@pytest.fixture
async def fleet() -> AsyncIterator[Containers]:
    """Containers that nobody else has."""
    async with a_fleet() as containers:
        yield containers


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder; whatever runs from it is ended."""
    with short_dir() as folder, cleaned_up(folder):
        yield folder


async def of_chat(fleet: Containers) -> list[Container]:
    return [each for each in await fleet.found() if "text-generation" in each.name]


async def until_another(fleet: Containers, before: str) -> Container:
    async with asyncio.timeout(30):
        while not [each for each in await of_chat(fleet) if each.id != before and each.is_alive]:
            await asyncio.sleep(0.1)
    [container] = await of_chat(fleet)
    return container


async def until_it_answers(up: Up, **body: str) -> str:
    async with asyncio.timeout(30):
        while (
            answer := await asyncio.to_thread(up.client.run, CHAT, prompt="hello", **body)
        ).status_code != 200:
            await asyncio.sleep(0.2)
    return str(answer.json()["result"]["response"])


def settings(fleet: Containers) -> dict[str, str]:
    """What the node is told; the demo models share the package `demo`."""
    own = {"host": HOST, "image": IMAGE, "prefix": fleet.prefix, "shared": "demo"}
    return {
        "CONSTELLATION_NODE_DRIVER": "docker",
        **{f"CONSTELLATION_NODE_DOCKER_{name.upper()}": value for name, value in own.items()},
    }


async def test_models_in_containers_serve_come_back_and_outlive_a_killed_node(
    fleet: Containers, state: Path
) -> None:
    env = settings(fleet)
    up = await asyncio.to_thread(Up(state, env=env).start)
    assert await until_it_answers(up, lora="pirate")
    [first] = await of_chat(fleet)

    await fleet.kill(first.id)
    second = await until_another(fleet, first.id)
    assert await until_it_answers(up)
    assert "died: its container ended with exit code 137" in up.service.text()

    await fleet.remove(second.id)
    third = await until_another(fleet, second.id)
    assert await until_it_answers(up)
    assert "died: its container was removed" in up.service.text()

    up.service.kill()
    up.client.close()
    assert [each.id for each in await of_chat(fleet)] == [third.id]
    again = await asyncio.to_thread(Up(state, env=env).start)
    assert await until_it_answers(again, lora="pirate")
    assert [each.id for each in await of_chat(fleet)] == [third.id]

    again.client.close()
    assert await asyncio.to_thread(again.service.stop) == 0
    assert await fleet.found() == []
    assert processes_of(state) == {}
