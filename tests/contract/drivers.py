"""The ways in which a node runs instances, each with what a test must know of it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from services.node.drivers import processes
from services.node.drivers.docker import DockerDriver
from services.node.drivers.process import ProcessDriver, sessions_in
from services.node.drivers.processes import Process
from services.node.drivers.triton import TritonDriver
from services.node.drivers.tritonserver import answers
from services.node.ports import InstanceSpec
from tests.cluster.fleets import Containers
from tests.node.echo_model import ECHO, ask, make_model
from tests.node.triton_traces import memory_of, server_of

BOOT_S = 30.0
STOP_S = 3.0
LINE = "a line of the model's own"
BROKEN = f'print("{LINE}", flush=True)\nraise RuntimeError("this model is broken")\n'
SLOW = "import time\ntime.sleep(1.5)\n"
SERVER = """
import http.server, sys
print("a line of the model's own", flush=True)
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Answers).serve_forever()
"""


class Way(Protocol):
    """One driver, and how to see what it did."""

    folder: Path

    @property
    def spec(self) -> InstanceSpec:
        """One that serves."""

    @property
    def other(self) -> InstanceSpec:
        """Another one that serves."""

    @property
    def broken(self) -> InstanceSpec:
        """One that prints LINE, and ends as it starts."""

    @property
    def slow(self) -> InstanceSpec:
        """One that takes a while to start."""

    def driver(self, *, detach: bool = False) -> Any:
        """A driver of the folder, to be entered."""

    async def serves(self, address: str, spec: InstanceSpec) -> bool:
        """Whether the instance answers there."""

    async def traces(self) -> Sequence[object]:
        """What runs and what is left, each by what no other has."""

    async def kill(self) -> None:
        """Kill everything that runs, behind the driver's back."""

    async def leftovers(self) -> Sequence[object]:
        """What must be gone once an attached driver was left."""


class AsTriton:
    """In a Triton."""

    def __init__(self, folder: Path, environment: Path, *, dedicated: bool) -> None:
        self.folder = folder
        self._environment = environment
        self._dedicated = dedicated

    @property
    def spec(self) -> InstanceSpec:
        return self._made("echo", ECHO)

    @property
    def other(self) -> InstanceSpec:
        return self._made("other", ECHO)

    @property
    def broken(self) -> InstanceSpec:
        return self._made("broken", BROKEN)

    @property
    def slow(self) -> InstanceSpec:
        return self._made("slow", SLOW + ECHO)

    def driver(self, *, detach: bool = False) -> TritonDriver:
        return TritonDriver(
            folder=self.folder / "node",
            environment=self._environment,
            detach=detach,
            stop_seconds=STOP_S,
        )

    async def serves(self, address: str, spec: InstanceSpec) -> bool:
        return await ask(address, spec.served_as) == ["hello"]

    async def traces(self) -> Sequence[object]:
        servers = [each.parent for each in (self.folder / "node").glob("**/process.json")]
        alive = [server_of(each) for each in servers]
        idle = {server_of(each) for each in servers if not list(each.glob("repository/*"))}
        return [each for each in alive if each.is_alive() and each not in idle]

    async def kill(self) -> None:
        for each in await self.traces():
            assert isinstance(each, Process)
            each.signal(signal.SIGKILL)
            await each.ended()

    async def leftovers(self) -> Sequence[object]:
        return [*processes.mentioning(self.folder), *memory_of(self.folder / "node", "shared")]

    def _made(self, name: str, code: str) -> InstanceSpec:
        spec = make_model(self.folder / "models", name, code)
        return replace(spec, dedicated=self._dedicated)


class AsProcess:
    """As a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "server.py").write_text(SERVER)
        (folder / "slow.py").write_text(SLOW + SERVER)

    @property
    def spec(self) -> InstanceSpec:
        return self._running("server.py", "{host}", "{port}")

    @property
    def other(self) -> InstanceSpec:
        return self._running("server.py", "{host}", "{port}", "another", name="other")

    @property
    def broken(self) -> InstanceSpec:
        return self._running("-c", BROKEN, name="broken")

    @property
    def slow(self) -> InstanceSpec:
        return self._running("slow.py", "{host}", "{port}", name="slow")

    def driver(self, *, detach: bool = False) -> ProcessDriver:
        return ProcessDriver(
            folder=self.folder / "node",
            root=self.folder,
            detach=detach,
            boot_seconds=BOOT_S,
            stop_seconds=STOP_S,
        )

    async def serves(self, address: str, spec: InstanceSpec) -> bool:
        host, _, port = address.rpartition(":")
        return await answers(host, int(port), spec.ready_path)

    async def traces(self) -> Sequence[object]:
        found = [each.process for each in sessions_in(self.folder / "node")]
        return [each for each in found if each.is_alive()]

    async def kill(self) -> None:
        for each in sessions_in(self.folder / "node"):
            each.process.signal(signal.SIGKILL)
            await each.process.ended()

    async def leftovers(self) -> Sequence[object]:
        return sessions_in(self.folder / "node")

    def _running(self, *command: str, name: str = "m") -> InstanceSpec:
        return InstanceSpec(
            id=f"n/{name}/0",
            model=name,
            served_as=name,
            repository=Path(),
            command=(sys.executable, *command),
            ready_path="/health",
        )


class AsContainer:
    """In a container with a Triton."""

    def __init__(self, folder: Path, containers: Containers) -> None:
        self.folder = folder
        self._containers = containers

    @property
    def spec(self) -> InstanceSpec:
        return make_model(self.folder / "models", "echo")

    @property
    def other(self) -> InstanceSpec:
        return make_model(self.folder / "models", "other")

    @property
    def broken(self) -> InstanceSpec:
        return make_model(self.folder / "models", "broken", BROKEN)

    @property
    def slow(self) -> InstanceSpec:
        return make_model(self.folder / "models", "slow", SLOW + ECHO)

    def driver(self, *, detach: bool = False) -> DockerDriver:
        return self._containers.driver(self.folder, detach=detach)

    async def serves(self, address: str, spec: InstanceSpec) -> bool:
        return await ask(address, spec.served_as) == ["hello"]

    async def traces(self) -> Sequence[object]:
        return [each.id for each in await self._containers.found() if each.is_alive]

    async def kill(self) -> None:
        for each in await self._containers.found():
            await self._containers.kill(each.id)

    async def leftovers(self) -> Sequence[object]:
        return await self._containers.found()
