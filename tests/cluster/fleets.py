"""A real Docker engine for tests of the docker driver, each with a fleet of its own on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiodocker

from services.node.docker_settings import DockerSettings
from services.node.drivers.docker import DockerDriver
from services.node.drivers.docker_engine import Container, Engine
from services.node.drivers.docker_spec import FLEET, Place
from tests.cluster.images import IMAGES, TAG

HOST = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
IMAGE = f"{IMAGES['triton']}:{TAG}"
NODE = "ams-1"


class Containers:
    """The containers of one fleet, looked at and harmed without the driver."""

    def __init__(self, docker: aiodocker.Docker) -> None:
        self.docker = docker
        self.prefix = f"test-{uuid.uuid4().hex[:8]}"

    def driver(
        self,
        folder: Path,
        *,
        detach: bool = False,
        gpus: int = 0,
        boot_s: float = 40.0,
        **more: Any,
    ) -> DockerDriver:
        """Return a driver whose files are all below a folder."""
        place = Place(
            node=NODE,
            root=folder,
            state_dir=folder / "state",
            folder=folder / "state" / "docker",
            host="127.0.0.1",
            user=f"{os.getuid()}:{os.getgid()}",
            stop_seconds=3.0,
        )
        settings = {"docker_host": HOST, "docker_image": IMAGE, "docker_prefix": self.prefix} | more
        return DockerDriver(
            place=place,
            settings=DockerSettings(driver="docker", **settings),
            detach=detach,
            boot_seconds=boot_s,
            gpus=gpus,
            gpu_memory_mb=24_000 if gpus else 0,
        )

    async def found(self) -> list[Container]:
        """Return all that are there, running or not."""
        async with Engine(HOST, call_seconds=10.0) as engine:
            return await engine.labelled({FLEET: self.prefix})

    async def kill(self, id_: str) -> None:
        """Kill one, as somebody at a terminal might."""
        await self.docker.containers.container(id_).kill()

    async def kill_in(self, id_: str, program: str) -> None:
        """Kill a program in one."""
        container = self.docker.containers.container(id_)
        seek = "import os, sys; [os.kill(int(p), 9) for p in os.listdir('/proc') if p.isdigit() and"
        seek += " sys.argv[1] in open(f'/proc/{p}/cmdline').read() and int(p) != os.getpid()]"
        running = await container.exec(["python3", "-c", seek, program], stdout=True, stderr=True)
        async with running.start(detach=False) as stream:
            while await stream.read_out():
                pass

    async def remove(self, id_: str) -> None:
        """Remove one, likewise."""
        await self.docker.containers.container(id_).delete(force=True, v=True)

    async def shown(self, id_: str) -> dict[str, Any]:
        """Return all that the engine tells of one."""
        return await self.docker.containers.container(id_).show()


@asynccontextmanager
async def a_fleet() -> AsyncIterator[Containers]:
    """A fleet that leaves no containers behind, however the test ends."""
    async with aiodocker.Docker(url=HOST) as docker:
        containers = Containers(docker)
        try:
            yield containers
        finally:
            for each in await containers.found():
                await containers.remove(each.id)


class Between:
    """Stands between a driver and the engine, and goes away when it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Pass everything on."""
        self._server = await asyncio.start_unix_server(self._pass_on, self.path)

    async def close(self) -> None:
        """Cut what is open, and take nothing more."""
        assert self._server
        self._server.close()
        for each in self._open:
            each.close()
        self.path.unlink()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_unix_connection(HOST.removeprefix("unix://"))
        self._open |= {writer, there[1]}
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()
