"""The process driver with real processes: what it starts, what it adopts, what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from libs.common.catalog import Backend, Model
from libs.common.clock import SystemClock
from libs.common.lifecycle import background
from libs.common.world import World
from libs.common.world_map import Assignment, Node
from services.node.agent import Agent
from services.node.drivers.process import ProcessDriver, sessions_in
from services.node.drivers.processes import Process
from services.node.drivers.tritonserver import answers
from services.node.ports import BootFailed, InstanceSpec, SetupRun
from tests.fakes import put
from tests.waiting import until

pytestmark = [
    pytest.mark.timeout(60),
    # Ports are taken a moment after they were found free: not by two drivers at once.
    pytest.mark.xdist_group("process driver"),
    pytest.mark.skipif(sys.platform != "linux", reason="sessions are found in /proc"),
]

SERVER = """
import http.server, os, subprocess, sys
print("a line of the model's own", flush=True)
with open("child", "w") as note:
    note.write(str(subprocess.Popen(["sleep", "60"]).pid))
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Answers).serve_forever()
"""
LOADS = """
import os, subprocess, time
with open("loading.new", "w") as note:
    note.write(str(subprocess.Popen(["sleep", "60"]).pid))
os.rename("loading.new", "loading")
time.sleep(60)
"""
ATTACHED = """
import asyncio, sys
from pathlib import Path
from services.node.drivers.process import ProcessDriver
from services.node.drivers.guard import Guard
from services.node.ports import InstanceSpec

async def main(folder):
    command = (sys.executable, "server.py", "{host}", "{port}")
    spec = InstanceSpec(id="n/m/0", model="m", served_as="m", repository=Path(), command=command)
    guard = Guard(folder / "node")
    guard.start()
    async with ProcessDriver(folder=folder / "node", root=folder) as driver:
        await driver.start(spec)
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(Path(sys.argv[1])))
"""
SPEC = InstanceSpec(
    id="n/m/0",
    model="m",
    served_as="m",
    repository=Path(),
    command=(sys.executable, "server.py", "{host}", "{port}"),
    ready_path="/health",
)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A folder to run in; whatever a test leaves running there is ended."""
    (tmp_path / "server.py").write_text(SERVER)
    yield tmp_path
    for each in sessions_in(tmp_path / "node"):
        asyncio.run(each.end(stop_s=0.0))


@pytest.fixture
def driver(root: Path) -> Callable[..., ProcessDriver]:
    """Makes drivers of one folder."""
    return lambda **more: ProcessDriver(
        folder=root / "node", root=root, **({"stop_seconds": 3.0, "boot_seconds": 20.0} | more)
    )


def child(root: Path) -> Process:
    found = Process.of(int((root / "child").read_text()))
    assert found is not None
    return found


def port(address: str) -> int:
    return int(address.rpartition(":")[2])


async def test_an_instance_answers_and_stops_with_its_children(
    driver: Callable[..., ProcessDriver], root: Path
) -> None:
    async with driver() as processes:
        running = await processes.start(SPEC)

        assert await answers("127.0.0.1", port(running.address), "/health")
        assert "a line of the model's own" in running.log
        assert list(await processes.running()) == [SPEC.id]

        born = child(root)
        await processes.stop(SPEC.id)

        assert await processes.running() == {}
        assert not born.is_alive()
        assert not sessions_in(root / "node")
        await processes.stop(SPEC.id)


async def test_a_start_of_what_runs_changes_nothing_unless_it_is_another_command(
    driver: Callable[..., ProcessDriver],
) -> None:
    async with driver() as processes:
        await processes.start(SPEC)
        (first,) = sessions_in(processes._folder.parent)
        await processes.start(replace(SPEC, adapters={"a": Path("a")}))
        (second,) = sessions_in(processes._folder.parent)
        await processes.start(replace(SPEC, command=(*SPEC.command, "more")))
        (third,) = sessions_in(processes._folder.parent)

        assert first.process == second.process != third.process
        assert not first.is_alive()


@pytest.mark.parametrize(
    ("command", "bounds", "words"),
    [
        (("-c", "print('no memory'); raise SystemExit(3)"), {}, "the process ended as it started"),
        (
            ("-c", "print('no memory', flush=True); import time; time.sleep(60)"),
            {"boot_seconds": 2.5},
            "the process was not ready after 2.5 s",
        ),
        (("/nowhere/at/all.py",), {}, "the process ended as it started"),
    ],
    ids=["ends", "never answers", "is not there"],
)
async def test_a_command_that_does_not_serve_fails_with_its_log(
    driver: Callable[..., ProcessDriver],
    root: Path,
    command: tuple[str, ...],
    bounds: dict[str, float],
    words: str,
) -> None:
    async with driver(**bounds) as processes:
        with pytest.raises(BootFailed, match=words) as failed:
            await processes.start(replace(SPEC, command=(sys.executable, *command)))

        assert "no memory" in failed.value.log or "nowhere" in failed.value.log
        assert not sessions_in(root / "node")
        assert await processes.running() == {}


async def test_a_boot_that_is_wanted_no_more_ends_with_its_children(
    driver: Callable[..., ProcessDriver], root: Path
) -> None:
    """The agent's way, with a command that loads for longer than the test may take."""
    (root / "server.py").write_text(LOADS + SERVER)
    world, told = World(), list[SetupRun]()
    backend = Backend(command=SPEC.command, ready_path="/health", served_as="m", kind="openai_http")
    put(world, Model(name="m", task="text-generation", backend=backend), complete=True)
    async with driver() as processes:
        agent = Agent(
            me=Node(name="n", colo="ams"),
            world=world,
            driver=processes,
            root=root,
            clock=SystemClock(),
            step_s=0.05,
            drain_s=5.0,
            longest_backoff_s=1.0,
            booted=told.append,
        )
        async with background(agent.run(), name="agent"):
            put(world, Assignment(node="n", model="m", instances=1))
            await until(lambda: (root / "loading").exists(), 20.0)
            (session,) = sessions_in(root / "node")
            born = Process.of(int((root / "loading").read_text()))
            assert born is not None

            put(world, Assignment(node="n", model="m", instances=0))

            await until(lambda: told and not agent._stopping, 3.0)
            assert [(each.instance, each.status) for each in told] == [("n/m/0", "canceled")]
            assert not session.is_alive()
            assert not born.is_alive()
            assert not sessions_in(root / "node")
            assert agent.report().resources[1:] == ()


async def test_one_that_is_killed_runs_no_more_and_starts_again_without_its_children(
    driver: Callable[..., ProcessDriver], root: Path
) -> None:
    async with driver() as processes:
        first = await processes.start(SPEC)
        (session,) = sessions_in(root / "node")
        left = child(root)
        session.process.signal(signal.SIGKILL)
        await session.process.ended()
        assert await processes.running() == {}
        assert left.is_alive()

        again = await processes.start(SPEC)

        assert not left.is_alive()
        assert again.address == first.address


async def test_a_detached_driver_leaves_its_instances_to_the_next(
    driver: Callable[..., ProcessDriver], root: Path
) -> None:
    async with driver(detach=True) as processes:
        await processes.start(SPEC)
    (session,) = sessions_in(root / "node")
    assert session.is_alive()

    async with driver(detach=True) as processes:
        found = await processes.running()
        assert found[SPEC.id].spec == replace(SPEC, ready_path="")
        await processes.start(SPEC)
        (adopted,) = sessions_in(root / "node")
        assert adopted.process == session.process

        session.process.signal(signal.SIGKILL)
        await session.process.ended()
    async with driver(detach=True) as processes:
        assert await processes.running() == {}
        assert not sessions_in(root / "node")


async def test_a_record_of_another_process_is_neither_adopted_nor_ended(
    driver: Callable[..., ProcessDriver], root: Path
) -> None:
    async with driver(detach=True) as processes:
        await processes.start(SPEC)
        (session,) = sessions_in(root / "node")
        await processes.stop(SPEC.id)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        session.folder.mkdir(parents=True)
        replace(session, process=Process(other.pid, "long ago")).write()

        async with driver(detach=True) as processes:
            assert await processes.running() == {}

        assert other.poll() is None
        other.kill()


async def test_everything_dies_with_an_attached_driver(root: Path) -> None:
    command = [sys.executable, "-c", ATTACHED, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ)) as owner:
        assert owner.stdout is not None
        assert await asyncio.to_thread(owner.stdout.readline) == b"ready\n"
        (session,) = sessions_in(root / "node")
        born = child(root)
        owner.kill()

    await until(lambda: not session.is_alive() and not born.is_alive())
