"""The Triton driver with a real Triton: what it starts, what it adopts, what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.node.drivers import processes
from services.node.drivers.triton import TritonDriver
from services.node.drivers.tritonserver import number_of
from services.node.ports import BootFailed, InstanceSpec
from tests.node.echo_model import ECHO, ask, make_adapter, make_model
from tests.node.triton_traces import memory_of, server_of
from tests.waiting import until

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".triton"

ATTACHED = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from services.node.drivers.triton import TritonDriver
from services.node.ports import InstanceSpec

async def main(repository, folder, environment):
    spec = InstanceSpec(id="a", model="m", served_as="echo", repository=repository)
    async with TritonDriver(folder=folder, environment=environment) as triton:
        await triton.start(spec)
        await triton.start(replace(spec, id="b", dedicated=True))
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(*map(Path, sys.argv[1:])))
"""
BROKEN = """
print("a line of the model's own", flush=True)
raise RuntimeError("this model is broken")
"""
SLOW = ECHO.replace(
    "def initialize(self, args):",
    """def initialize(self, args):
        import time
        fast = os.path.join(args["model_repository"], "fast")
        time.sleep(0.0 if os.path.exists(fast) else 50.0)""",
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A driver's folder; whatever a test leaves running there is killed."""
    yield tmp_path / "triton"
    for process in processes.mentioning(tmp_path / "triton"):
        process.signal(signal.SIGKILL)
    for segment in memory_of(tmp_path / "triton", "shared"):
        segment.unlink(missing_ok=True)


@pytest.fixture
def driver(folder: Path, triton_environment: Path) -> Callable[..., TritonDriver]:
    """Makes drivers of one folder."""
    return lambda detach=False: TritonDriver(
        folder=folder, environment=triton_environment, detach=detach, stop_seconds=3
    )


@pytest.fixture
def echo(tmp_path: Path) -> InstanceSpec:
    return make_model(tmp_path / "models", "echo", ECHO)


async def until_gone(folder: Path, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while processes.mentioning(folder):
            await asyncio.sleep(0.05)


async def test_models_that_are_not_dedicated_share_a_process(
    driver: Callable[..., TritonDriver], tmp_path: Path, echo: InstanceSpec
) -> None:
    other = make_model(tmp_path / "models", "other", ECHO)
    async with driver() as triton:
        first, second = await asyncio.gather(triton.start(echo), triton.start(other))

        assert first.address == second.address
        await triton.stop(echo.id)
        assert await ask(second.address, "other") == ["hello"]
        assert set(await triton.running()) == {other.id}


async def test_dedicated_instances_have_processes_of_their_own(
    driver: Callable[..., TritonDriver], folder: Path, echo: InstanceSpec
) -> None:
    specs = [replace(echo, id=f"ams-1/echo/{number}", dedicated=True) for number in range(2)]
    async with driver() as triton:
        first, second = await asyncio.gather(*map(triton.start, specs))

        assert first.address != second.address
        await triton.stop(first.id)
        assert await ask(second.address, "echo") == ["hello"]
        assert set(await triton.running()) == {second.id}
    assert processes.mentioning(folder) == []


async def test_a_model_that_does_not_load_fails_with_its_log(
    driver: Callable[..., TritonDriver], tmp_path: Path, echo: InstanceSpec
) -> None:
    broken = make_model(tmp_path / "models", "broken", BROKEN)
    async with driver() as triton:
        await triton.start(echo)

        for spec in (broken, replace(broken, dedicated=True)):
            with pytest.raises(BootFailed, match="this model is broken") as failure:
                await triton.start(spec)
            assert "a line of the model's own" in failure.value.log

        assert set(await triton.running()) == {echo.id}


@pytest.mark.parametrize("dedicated", [False, True], ids=["shared", "dedicated"])
async def test_a_load_that_is_cancelled_is_stopped_at_once_and_begins_anew(
    driver: Callable[..., TritonDriver],
    folder: Path,
    tmp_path: Path,
    echo: InstanceSpec,
    dedicated: bool,
) -> None:
    slow = replace(make_model(tmp_path / "models", "slow", SLOW), dedicated=dedicated)
    async with driver() as triton:
        await triton.start(echo)
        before = {each.pid for each in processes.mentioning(folder)}
        loading = asyncio.create_task(triton.start(slow))
        server = folder / ("dedicated/ams-1%2Fslow%2F0" if dedicated else "shared")
        await until(lambda: processes.mentioning(server / "repository/slow"), 10.0)

        loading.cancel()
        await asyncio.wait([loading])
        async with asyncio.timeout(2):
            await triton.stop(slow.id)

        assert loading.cancelled()
        assert {each.pid for each in processes.mentioning(folder)} == before
        assert set(await triton.running()) == {echo.id}
        (slow.repository / "fast").touch()
        again = await triton.start(slow)
        assert await ask(again.address, "slow") == ["hello"]
        assert await ask((await triton.running())[echo.id].address, "echo") == ["hello"]


@pytest.mark.parametrize("dedicated", [False, True], ids=["shared", "dedicated"])
async def test_a_start_that_is_cancelled_before_its_triton_is_up_leaves_nothing(
    driver: Callable[..., TritonDriver], folder: Path, echo: InstanceSpec, dedicated: bool
) -> None:
    spec = replace(echo, dedicated=dedicated)
    where = folder / ("dedicated" if dedicated else "shared")
    async with driver() as triton:
        loading = asyncio.create_task(triton.start(spec))
        await until(lambda: processes.mentioning(where))

        loading.cancel()
        await asyncio.wait([loading])
        await triton.stop(spec.id)

        assert processes.mentioning(where) == []
        assert await ask((await triton.start(spec)).address, "echo") == ["hello"]


async def test_an_environment_that_is_not_there_fails_the_boot(
    tmp_path: Path, echo: InstanceSpec
) -> None:
    async with TritonDriver(folder=tmp_path / "triton", environment=tmp_path / "none") as triton:
        with pytest.raises(BootFailed, match="make setup"):
            await triton.start(echo)


async def test_an_instance_whose_model_process_died_does_not_run(
    driver: Callable[..., TritonDriver], folder: Path, tmp_path: Path, echo: InstanceSpec
) -> None:
    other = make_model(tmp_path / "models", "other", ECHO)
    async with driver() as triton:
        instance = await triton.start(echo)
        await triton.start(other)
        [stub] = processes.mentioning(folder / "shared/repository/echo/1")
        stub.signal(signal.SIGKILL)
        await stub.ended()

        assert set(await triton.running()) == {other.id}
        assert await triton.start(echo) == instance
        assert await ask(instance.address, "echo") == ["hello"]


async def test_a_detached_driver_leaves_its_instances_to_the_next(
    driver: Callable[..., TritonDriver], folder: Path, echo: InstanceSpec
) -> None:
    dedicated = replace(echo, id="ams-1/echo/1", dedicated=True)
    async with driver(detach=True) as triton:
        await triton.start(echo)
        await triton.start(dedicated)
        before = await triton.running()
    servers = [server_of(record.parent) for record in folder.glob("**/process.json")]

    async with driver(detach=True) as triton:
        assert await triton.running() == before
        assert await triton.start(echo) == before[echo.id]
        assert await ask(before[dedicated.id].address, "echo") == ["hello"]
        await triton.stop(dedicated.id)
        assert set(await triton.running()) == {echo.id}

    async with driver(detach=False) as triton:  # who is attached adopts nothing
        assert await triton.running() == {}
    assert len(servers) == 2
    assert not any(server.is_alive() for server in servers)
    assert memory_of(folder, "shared", "dedicated/ams-1%2Fecho%2F1") == []


async def test_a_detached_driver_does_not_adopt_what_died_meanwhile(
    driver: Callable[..., TritonDriver], folder: Path, echo: InstanceSpec
) -> None:
    dedicated = replace(echo, id="ams-1/echo/1", dedicated=True)
    async with driver(detach=True) as triton:
        await triton.start(echo)
        await triton.start(dedicated)
    [record] = folder.glob("dedicated/*/process.json")
    os.kill(server_of(record.parent).pid, signal.SIGKILL)

    async with driver(detach=True) as triton:
        assert set(await triton.running()) == {echo.id}
        await until_gone(record.parent)
        assert (await triton.start(dedicated)).id == dedicated.id
    async with driver():
        pass


async def test_a_record_of_another_process_is_not_adopted(
    driver: Callable[..., TritonDriver], folder: Path, echo: InstanceSpec
) -> None:
    async with driver() as triton:
        await triton.start(echo)
        record = json.loads((folder / "shared/process.json").read_text())
    record["process"]["pid"] = os.getpid()  # the number is in use again, the start time tells
    (folder / "shared/process.json").write_text(json.dumps(record))

    async with driver(detach=True) as triton:
        assert await triton.running() == {}


async def test_everything_dies_with_an_attached_driver(
    driver: Callable[..., TritonDriver], folder: Path, echo: InstanceSpec
) -> None:
    command = [sys.executable, "-c", ATTACHED, *map(str, (echo.repository, folder, ENVIRONMENT))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert await asyncio.to_thread(parent.stdout.readline) == b"ready\n"
        assert len(processes.mentioning(folder / "shared" / "backends")) == 2
        parent.kill()

    await until_gone(folder)
    async with driver():
        assert memory_of(folder, "shared", "dedicated/b") == []


async def test_adapters_are_placed_while_the_model_runs(
    driver: Callable[..., TritonDriver], tmp_path: Path, echo: InstanceSpec
) -> None:
    first = make_adapter(tmp_path / "adapters" / "1", "one")
    second = make_adapter(tmp_path / "adapters" / "2", "two")
    async with driver() as triton:
        instance = await triton.start(replace(echo, adapters={"a": first}))
        assert await ask(instance.address, "echo") == ["hello", "one"]

        assert await triton.start(replace(echo, adapters={"a": first, "b": second})) == instance
        assert await ask(instance.address, "echo") == ["hello", "one", "two"]

        await triton.start(replace(echo, adapters={"a": second}))
        assert await ask(instance.address, "echo") == ["hello", "two"]

        with pytest.raises(BootFailed, match="cannot be the name"):
            await triton.start(replace(echo, adapters={"../a": first}))
    assert (first / "adapter_config.json").exists()


async def test_two_instances_cannot_have_one_name_in_one_triton(
    driver: Callable[..., TritonDriver], echo: InstanceSpec
) -> None:
    async with driver() as triton:
        await triton.start(echo)

        with pytest.raises(BootFailed, match="served as echo already"):
            await triton.start(replace(echo, id="ams-1/echo/1"))
        assert set(await triton.running()) == {echo.id}


@pytest.mark.parametrize(
    ("host", "number"),
    [("localhost", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("::1", "::1"), ("no.invalid", None)],
)
def test_triton_listens_at_the_address_of_a_name(host: str, number: str | None) -> None:
    assert number_of(host) == (number or host)
