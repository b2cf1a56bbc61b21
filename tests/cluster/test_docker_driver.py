"""The docker driver with a real engine: what is its own, beside what every driver does."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.catalog import Resources
from services.node.drivers import docker
from services.node.drivers.docker_engine import EngineAway
from services.node.drivers.docker_spec import HTTP
from services.node.drivers.tritonserver import answers
from services.node.ports import BootFailed, InstanceSpec
from tests.cluster.fleets import Between, Containers, a_fleet
from tests.node.echo_model import ask, make_adapter, make_model

pytestmark = [
    pytest.mark.timeout(600),  # the first test builds the image
    pytest.mark.cluster,
    pytest.mark.usefixtures("images"),
    pytest.mark.skipif(sys.platform != "linux", reason="folders are bound where the engine is"),
]


@pytest.fixture
async def fleet() -> AsyncIterator[Containers]:
    """Containers that nobody else has."""
    async with a_fleet() as containers:
        yield containers


@pytest.fixture
def echo(tmp_path: Path) -> InstanceSpec:
    """A model to run."""
    return make_model(tmp_path / "models", "echo")


async def test_in_a_network_it_has_a_name_and_publishes_nothing(
    fleet: Containers, tmp_path: Path, echo: InstanceSpec
) -> None:
    network = await fleet.docker.networks.create({"Name": fleet.prefix, "CheckDuplicate": True})
    try:
        async with fleet.driver(tmp_path, docker_network=fleet.prefix) as driver:
            running = await driver.start(echo)
            [container] = await fleet.found()
            name, _, port = running.address.rpartition(":")

            assert (name, port) == (container.name, "8001")
            assert container.ports == {}
            inside = container.addresses[fleet.prefix]
            assert await answers(inside, HTTP, "/v2/models/echo/ready")

            await fleet.docker.containers.container(container.id).kill()
            await driver.running()
            assert (await driver.start(echo)).address == running.address
    finally:
        await network.delete()


async def test_it_is_said_why_one_died_with_the_last_of_its_log(
    fleet: Containers, tmp_path: Path, echo: InstanceSpec
) -> None:
    async with fleet.driver(tmp_path) as driver:
        await driver.start(echo)
        [container] = await fleet.found()
        await fleet.kill(container.id)
        assert await driver.running() == {}
        why = driver.why_died(echo.id)

        assert why.startswith("its container ended with exit code 137\n")
        assert "Started GRPCInferenceService" in why
        assert driver.why_died(echo.id) == ""

        await driver.start(echo)
        [container] = await fleet.found()
        await fleet.remove(container.id)
        assert await driver.running() == {}
        assert driver.why_died(echo.id) == "its container was removed"
        await driver.start(echo)
        assert len(await fleet.found()) == 1


async def test_one_that_was_started_again_elsewhere_is_not_taken_for_the_same(
    fleet: Containers, tmp_path: Path, echo: InstanceSpec
) -> None:
    async with fleet.driver(tmp_path) as driver:
        await driver.start(echo)
        [container] = await fleet.found()
        await fleet.docker.containers.container(container.id).restart()  # its port is another now

        assert await driver.running() == {}
        running = await driver.start(echo)
        assert await ask(running.address, "echo") == ["hello"]
        assert len(await fleet.found()) == 1


async def test_more_memory_than_the_limit_ends_it_and_is_named(
    fleet: Containers, tmp_path: Path, echo: InstanceSpec
) -> None:
    greedy = (
        "x = bytearray(2 ** 29)\nx[::4096] = b'1' * len(x[::4096])\nimport time\ntime.sleep(60)\n"
    )
    spec = make_model(tmp_path / "models", "greedy", greedy)
    async with fleet.driver(tmp_path) as driver:
        running = await driver.start(replace(echo, resources=Resources(memory_mb=75)))
        assert await ask(running.address, "echo") == ["hello"]
        [container] = await fleet.found()
        limits = (await fleet.shown(container.id))["HostConfig"]
        assert limits["Memory"] == limits["MemorySwap"] == 300 * 2**20

        with pytest.raises(BootFailed) as failed:
            await driver.start(replace(spec, resources=Resources(memory_mb=75)))
        assert "for it used more memory than its limit" in failed.value.reason
        assert list(await driver.running()) == [echo.id]


async def test_one_whose_model_process_died_is_removed_and_comes_back(
    fleet: Containers, tmp_path: Path, echo: InstanceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "STUBS_S", 0.1)
    async with fleet.driver(tmp_path) as driver:
        await driver.start(echo)
        [container] = await fleet.found()
        await fleet.kill_in(container.id, "triton_python_backend_stub")

        async with asyncio.timeout(10):
            while await driver.running():
                await asyncio.sleep(0.1)
        assert driver.why_died(echo.id).startswith("a process of its model ended\n")
        assert await fleet.found() == []
        running = await driver.start(echo)
        assert await ask(running.address, "echo") == ["hello"]


async def test_adapters_come_and_go_while_the_model_runs(
    fleet: Containers, tmp_path: Path, echo: InstanceSpec
) -> None:
    first = make_adapter(tmp_path / "adapters" / "1", "one")
    second = make_adapter(tmp_path / "adapters" / "2", "two")
    async with fleet.driver(tmp_path) as driver:
        instance = await driver.start(replace(echo, adapters={"a": first}))
        assert await ask(instance.address, "echo") == ["hello", "one"]

        assert await driver.start(replace(echo, adapters={"a": first, "b": second})) == instance
        assert await ask(instance.address, "echo") == ["hello", "one", "two"]

        await driver.start(replace(echo, adapters={"a": second}))
        assert await ask(instance.address, "echo") == ["hello", "two"]
        (second / "adapter_config.json").unlink()
        (second / "adapter_config.json").write_text("three")
        await driver.start(replace(echo, adapters={"a": second}))
        assert await ask(instance.address, "echo") == ["hello", "three"]

        with pytest.raises(BootFailed, match="cannot be the name"):
            await driver.start(replace(echo, adapters={"../a": first}))
        folders = tmp_path / "state/docker/ams-1%2Fecho%2F0/adapters"
        assert len([*folders.iterdir()]) <= 2


async def test_after_a_crash_what_serves_is_adopted_and_the_rest_is_removed(
    fleet: Containers, tmp_path: Path, echo: InstanceSpec
) -> None:
    slow = make_model(tmp_path / "models", "slow", "import time\ntime.sleep(60)\n")
    dead = make_model(tmp_path / "models", "dead")
    crashed = await fleet.driver(tmp_path, detach=True).__aenter__()
    running = await crashed.start(echo)
    await crashed.start(dead)
    booting = asyncio.create_task(crashed.start(slow))
    while len(before := await fleet.found()) < 3:
        await asyncio.sleep(0.05)
    booting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await booting
    await crashed._entered.aclose()  # the client alone: nothing is stopped
    [kept] = [each for each in before if "echo" in each.name]
    await fleet.kill(next(each.id for each in before if "dead" in each.name))

    async with fleet.driver(tmp_path, detach=True) as driver:
        assert await driver.running() == {echo.id: running}
        assert [each.id for each in await fleet.found()] == [kept.id]
        assert await driver.start(echo) == running
        assert [each.name for each in (tmp_path / "state/docker").iterdir()] == ["ams-1%2Fecho%2F0"]


async def test_one_made_under_other_settings_is_adopted_as_another_so_that_it_drains(
    fleet: Containers, tmp_path: Path, echo: InstanceSpec
) -> None:
    async with fleet.driver(tmp_path, detach=True) as driver:
        running = await driver.start(echo)

    async with fleet.driver(tmp_path, detach=True, docker_shm_mb=64) as driver:
        found = (await driver.running())[echo.id]
        assert await ask(found.address, "echo") == ["hello"]
        assert found.spec is not None
        assert found.spec.differs_from(echo)
        before = await fleet.found()

        again = await driver.start(echo)

        assert again.spec == replace(echo, repository=echo.repository.absolute())
        assert {each.id for each in before}.isdisjoint(each.id for each in await fleet.found())
        assert running.id == again.id


async def test_what_is_of_another_node_or_fleet_is_let_be(
    fleet: Containers, tmp_path: Path, echo: InstanceSpec
) -> None:
    async with a_fleet() as other:
        async with other.driver(tmp_path / "other", detach=True) as theirs:
            await theirs.start(echo)
        async with fleet.driver(tmp_path) as driver:
            await driver.start(echo)
            assert len(await other.found()) == 1
        assert len(await other.found()) == 1


@pytest.mark.parametrize(
    ("settings", "need", "words"),
    [
        ({"docker_image": "constellation-nowhere:1"}, Resources(), "constellation-nowhere:1"),
        ({"docker_network": "constellation-nowhere"}, Resources(), "constellation-nowhere"),
        ({"docker_command": "/nowhere/at/all"}, Resources(), "/nowhere/at/all"),
        ({"docker_command": "/bin/echo no model"}, Resources(), "ended with exit code 0"),
        ({"docker_command": "sleep 60", "boot_s": 1.0}, Resources(), "invalid|not ready|ended"),
        ({"gpus": 1}, Resources(gpus=2), "it needs 2 GPUs, and 1 of 1 are free"),
    ],
    ids=["image", "network", "command", "ends", "never answers", "GPUs"],
)
async def test_what_the_engine_refuses_fails_the_boot_and_leaves_nothing(
    fleet: Containers,
    tmp_path: Path,
    echo: InstanceSpec,
    settings: dict[str, object],
    need: Resources,
    words: str,
) -> None:
    async with fleet.driver(tmp_path, **settings) as driver:  # type: ignore[arg-type]
        with pytest.raises(BootFailed, match=words):
            await driver.start(replace(echo, resources=need))

        assert await fleet.found() == []
        assert await driver.running() == {}


async def test_the_gpus_are_asked_for_of_the_engine(
    fleet: Containers, tmp_path: Path, echo: InstanceSpec
) -> None:
    """Where there are none it says so; where there are, the container has its own alone."""
    spec = replace(echo, resources=Resources(gpus=1))
    async with fleet.driver(tmp_path, gpus=1) as driver:
        for _ in range(2):  # and what failed has given it back
            try:
                await driver.start(spec)
            except BootFailed as error:
                assert "device driver" in str(error) or "nvidia" in str(error)  # noqa: PT017
            else:
                [container] = await fleet.found()
                host = (await fleet.shown(container.id))["HostConfig"]
                assert host["DeviceRequests"][0]["DeviceIDs"] == ["0"]


async def test_while_the_engine_is_away_what_ran_is_taken_to_run_on(
    fleet: Containers, tmp_path: Path, echo: InstanceSpec, folder: Path
) -> None:
    between = Between(folder / "d.sock")
    await between.open()
    async with fleet.driver(tmp_path, docker_host=f"unix://{between.path}") as driver:
        running = await driver.start(echo)
        await between.close()

        assert await driver.running() == {echo.id: running}
        with pytest.raises(BootFailed, match="does not answer"):
            await driver.start(replace(echo, id="ams-1/echo/1"))

        await between.open()
        assert await driver.running() == {echo.id: running}
        assert await driver.start(echo) == running
        assert len(await fleet.found()) == 1
    await between.close()


async def test_an_engine_that_is_not_there_is_named(tmp_path: Path, fleet: Containers) -> None:
    with pytest.raises(EngineAway, match=r"at unix:///nowhere/d\.sock does not answer"):
        await fleet.driver(tmp_path, docker_host="unix:///nowhere/d.sock").__aenter__()
