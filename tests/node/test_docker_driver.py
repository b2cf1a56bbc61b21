"""The docker driver with an engine that takes its time, which a real one cannot be made to do.

What a real engine does is in `tests/contract` and `tests/cluster`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.node.docker_settings import DockerSettings
from services.node.drivers.docker import DockerDriver
from services.node.drivers.docker_gpus import GpuUse
from services.node.drivers.docker_spec import Place, container_for
from services.node.ports import InstanceSpec
from tests.node.echo_model import make_model
from tests.waiting import until


class FakeEngine:
    """Keeps containers by id, and answers `held` calls only when it is let."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.made = asyncio.Event()
        self.held = ""
        self.let = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2]
        self.calls.append(f"{request.method} {name}")
        if name == self.held:
            await self.let.wait()
        if name == "version":
            return web.json_response({"ApiVersion": "1.43"})
        if name == "top":
            return web.json_response({"Titles": [], "Processes": []})
        if name == "create":
            return await self._create(request)
        if request.method == "GET" and name == "json":
            return web.json_response(self._found(request))
        if name == "start":
            self.containers[request.path.split("/")[-2]]["State"] = "running"
        if request.method == "DELETE":
            self.containers.pop(name, None)
        return web.Response(status=204)

    async def _create(self, request: web.Request) -> web.Response:
        id_ = f"c{len(self.calls)}"
        self.containers[id_] = {
            "Id": id_,
            "Names": [f"/{request.query['name']}"],
            "State": "created",
            "Labels": (await request.json())["Labels"],
        }
        self.made.set()
        return web.json_response({"Id": id_, "Warnings": []}, status=201)

    def _found(self, request: web.Request) -> list[dict[str, Any]]:
        wanted = json.loads(request.query["filters"])["label"]
        return [
            each
            for each in self.containers.values()
            if set(wanted) <= {f"{name}={value}" for name, value in each["Labels"].items()}
        ]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def address(engine: FakeEngine) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", engine.answer)
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(
        node="ams-1",
        root=tmp_path,
        state_dir=tmp_path / "state",
        folder=tmp_path / "state" / "docker",
        host="127.0.0.1",
        user="1:1",
        stop_seconds=30.0,
    )


def under(address: str, **settings: str) -> DockerSettings:
    return DockerSettings(driver="docker", docker_host=address, docker_image="triton:1", **settings)


@pytest.fixture
async def driver(address: str, place: Place) -> AsyncIterator[DockerDriver]:
    async with DockerDriver(place=place, settings=under(address)) as made:
        yield made


@pytest.fixture
def spec(tmp_path: Path) -> InstanceSpec:
    return make_model(tmp_path / "models", "echo")


async def test_a_container_that_is_made_as_its_start_is_cancelled_is_removed(
    engine: FakeEngine, driver: DockerDriver, spec: InstanceSpec
) -> None:
    """The schedule: the engine is asked for it, the start is cancelled, then it makes it."""
    engine.held = "create"
    starting = asyncio.create_task(driver.start(spec))
    await until(lambda: "POST create" in engine.calls)

    starting.cancel()
    stopping = asyncio.create_task(driver.stop(spec.id))
    await asyncio.sleep(0.05)
    engine.let.set()
    await asyncio.wait([starting])
    await asyncio.wait_for(engine.made.wait(), 5.0)
    await asyncio.wait_for(stopping, 5.0)

    assert starting.cancelled()
    assert engine.containers == {}
    assert await driver.running() == {}


async def test_one_that_loads_is_removed_without_the_time_that_requests_have(
    engine: FakeEngine, driver: DockerDriver, spec: InstanceSpec
) -> None:
    starting = asyncio.create_task(driver.start(spec))
    await until(lambda: any(each["State"] == "running" for each in engine.containers.values()))

    starting.cancel()
    await asyncio.wait([starting])
    await driver.stop(spec.id)

    assert engine.containers == {}
    assert "POST stop" not in engine.calls


PUBLISHED = {
    "Ports": [{"PrivatePort": 8000, "PublicPort": 1}, {"PrivatePort": 8001, "PublicPort": 2}]
}
IN_OLD = {"NetworkSettings": {"Networks": {"old": {"IPAddress": "127.0.0.9"}}}}


@pytest.mark.parametrize(
    ("before", "after", "where", "address_told"),
    [
        ("old", "new", IN_OLD, "the-name:8001"),
        ("old", "", IN_OLD, "the-name:8001"),
        ("", "new", PUBLISHED, "127.0.0.1:2"),
    ],
    ids=["another network", "none any more", "one where there was none"],
)
async def test_one_of_another_network_goes_on_until_it_is_replaced(
    engine: FakeEngine,
    address: str,
    place: Place,
    spec: InstanceSpec,
    before: str,
    after: str,
    where: dict[str, Any],
    address_told: str,
) -> None:
    made = under(address, docker_network=before)
    body = container_for(spec, place=place, settings=made, use=GpuUse())
    told = {"Id": "c", "Names": ["/the-name"], "State": "running", "Labels": body["Labels"]}
    engine.containers["c"] = told | where

    settings = under(address, docker_network=after)
    async with DockerDriver(place=place, settings=settings, detach=True) as driver:
        found = await driver.running()

    assert list(engine.containers) == ["c"]
    assert found[spec.id].address == address_told
    assert found[spec.id].spec.served_as == ""  # so it is drained, and begins anew
