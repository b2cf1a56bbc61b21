"""Instances as models of a Triton: one that a node's models share, and one each for the dedicated.

Everything is kept in one folder: `shared/` and `dedicated/<instance>/` belong to one TritonServer
each. Attached, the Tritons end with the driver, however that ends, and a guard clears away what is
left; detached, they go on, and the next driver adopts them and what they hold.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from services.node.drivers import model_folder
from services.node.drivers.guard import Guard
from services.node.drivers.model_control import ControlFailed, model_control
from services.node.drivers.processes import POLL_S, Process
from services.node.drivers.tritonserver import TritonServer
from services.node.ports import BootFailed, InstanceSpec, RunningInstance

STUB_BEGINS_S, STUB_TELLS_S = 5.0, 0.1
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An instance that was started, and the processes that it needs; none while it starts."""

    spec: InstanceSpec
    server: TritonServer
    processes: tuple[Process, ...] = ()

    @property
    def folder(self) -> Path:
        """Its folder in the model repository."""
        return self.server.repository / self.spec.served_as

    def is_alive(self) -> bool:
        """Whether all its processes run. Triton calls a model ready whose process has died."""
        return bool(self.processes) and all(process.is_alive() for process in self.processes)


class TritonDriver:
    """Starts and stops instances in Tritons of its own; an InstanceDriver."""

    def __init__(
        self,
        *,
        folder: Path,
        environment: Path,
        detach: bool = False,
        host: str = "127.0.0.1",
        listen: str = "",
        boot_seconds: float = 60.0,
        load_seconds: float = 120.0,
        stop_seconds: float = 10.0,
        nice: int = 0,
    ) -> None:
        """`folder` is for the driver's own use; `environment` is what `make setup` made."""
        self._folder = folder.absolute()
        self._environment = environment
        self._detach = detach
        self._host = host
        self._listen = listen
        self._boot_seconds = boot_seconds
        self._load_seconds = load_seconds
        self._stop_seconds = stop_seconds
        self._nice = nice
        self._shared = self._server(self._folder / "shared")
        self._guard = Guard(self._folder)
        self._instances: dict[str, Instance] = {}
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def __repr__(self) -> str:
        alive = sum(instance.is_alive() for instance in self._instances.values())
        return f"<TritonDriver alive={alive}/{len(self._instances)} detach={self._detach}>"

    async def __aenter__(self) -> Self:
        """Adopt what a detached driver left running; end and clear away everything else."""
        servers = [self._shared]
        servers += [self._server(path) for path in (self._folder / "dedicated").glob("*")]
        await asyncio.gather(*(self._take_over(server) for server in servers))
        if not self._detach:
            self._guard.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything, or detached: leave everything as it is."""
        if not self._detach:
            servers = {instance.server for instance in self._instances.values()} | {self._shared}
            await asyncio.gather(*(server.stop() for server in servers))
            await self._guard.close()
            self._instances.clear()

    async def start(self, spec: InstanceSpec) -> RunningInstance:
        """Bring the instance up, or where it is up, make its adapters those of the spec."""
        spec = replace(spec, repository=spec.repository.absolute())
        async with self._changing[spec.id]:
            known = self._instances.get(spec.id)
            if known and known.is_alive() and not known.spec.differs_from(spec):
                model_folder.place_adapters(known.folder, spec.adapters)
                self._instances[spec.id] = replace(known, spec=spec)
                return self._describe(known)
            if known:
                await self._remove(known)
            return await self._boot(spec)

    async def stop(self, instance_id: str) -> None:
        """Bring the instance down; requests in flight have the stop time to finish.

        One whose start was cancelled has none, and goes at once.
        """
        async with self._changing[instance_id]:
            if known := self._instances.get(instance_id):
                await self._remove(known)

    async def running(self) -> Mapping[str, RunningInstance]:
        """What lives now."""
        return {
            name: self._describe(instance)
            for name, instance in self._instances.items()
            if instance.is_alive()
        }

    def why_died(self, instance_id: str) -> str:
        """Nothing is known but that it did."""
        return "its process died"

    async def _boot(self, spec: InstanceSpec) -> RunningInstance:
        server = self._server(self._dedicated_folder(spec.id)) if spec.dedicated else self._shared
        if taken := self._holder(server, spec.served_as):
            raise BootFailed(f"{taken} is served as {spec.served_as} already")
        instance = Instance(spec=spec, server=server)
        # Known from now on: who is cancelled below leaves something for `stop` to take down.
        self._instances[spec.id] = instance
        before = server.log_size() if server.is_alive() else 0
        try:
            await server.start()
            model_folder.place(instance.folder, spec)
            instance = replace(instance, processes=await self._load(instance))
        except BootFailed:
            await self._remove(instance)
            raise
        model_folder.write_record(instance.folder, spec, instance.processes)
        self._instances[spec.id] = instance
        return replace(self._describe(instance), log=server.log_tail(before))

    async def _load(self, instance: Instance) -> tuple[Process, ...]:
        server, name = instance.server, instance.spec.served_as
        before = server.log_size()
        try:
            async with model_control(server.address) as control:
                await control.load(name, timeout=self._load_seconds)
        except ControlFailed as error:
            raise BootFailed(
                f"{name} did not load: {error}", log=server.log_tail(before)
            ) from error
        if server.process is None:
            raise BootFailed("Triton is gone", log=server.log_tail(before))
        return (server.process, *server.model_processes(name))

    async def _remove(self, instance: Instance) -> None:
        gently = instance.is_alive()
        self._instances[instance.spec.id] = replace(instance, processes=())  # runs no more
        if instance.spec.dedicated:
            await self._discard(instance.server, gently=gently)
        else:
            await self._unload(instance.server, instance.spec.served_as, gently=gently)
        del self._instances[instance.spec.id]

    async def _unload(self, server: TritonServer, name: str, *, gently: bool = True) -> None:
        if not gently:  # Triton unloads nothing that loads, and loads until the stubs are gone
            await _kill_stubs(server, name)
        if server.is_alive():
            try:
                async with model_control(server.address) as control:
                    unloaded = await control.unload(name, timeout=self._stop_seconds)
            except ControlFailed as error:
                logger.warning("%s was not unloaded: %s", name, error)
                unloaded = False
            if not unloaded:
                await _kill_stubs(server, name)
        model_folder.remove(server.repository / name)

    async def _discard(self, server: TritonServer, *, gently: bool = True) -> None:
        await server.stop(gently=gently)
        leftover = server.repository if server is self._shared else server.folder
        shutil.rmtree(leftover, ignore_errors=True)

    async def _take_over(self, server: TritonServer) -> None:
        """Adopt a living server with the instances that it has in truth, or clear it away."""
        adopted = server.adopt() and self._detach
        if adopted:
            try:
                await server.start()  # only waits
                await self._take_over_instances(server)
            except (BootFailed, ControlFailed) as error:
                logger.warning("%r could not be adopted: %s", server, error)
                adopted = False
        holds_any = any(instance.server is server for instance in self._instances.values())
        if not adopted or not (holds_any or server is self._shared):
            await self._discard(server)

    async def _take_over_instances(self, server: TritonServer) -> None:
        async with model_control(server.address) as control:
            for folder in server.repository.glob("*"):
                spec, processes = model_folder.read_record(folder) or (None, ())
                instance = Instance(spec=spec, server=server, processes=processes) if spec else None
                if instance and instance.is_alive() and await control.is_ready(folder.name):
                    self._instances[instance.spec.id] = instance
                else:
                    await self._unload(server, folder.name)

    def _holder(self, server: TritonServer, served_as: str) -> str:
        """The instance that has this name in this server, or nothing."""
        for name, instance in self._instances.items():
            if instance.server is server and instance.spec.served_as == served_as:
                return name
        return ""

    def _dedicated_folder(self, instance_id: str) -> Path:
        return self._folder / "dedicated" / quote(instance_id, safe="")

    def _server(self, folder: Path) -> TritonServer:
        return TritonServer(
            folder=folder,
            environment=self._environment,
            detach=self._detach,
            host=self._host,
            listen=self._listen,
            boot_seconds=self._boot_seconds,
            stop_seconds=self._stop_seconds,
            nice=self._nice,
        )

    @staticmethod
    def _describe(instance: Instance) -> RunningInstance:
        spec = instance.spec
        address = instance.server.address
        return RunningInstance(id=spec.id, model=spec.model, address=address, spec=spec)


async def _kill_stubs(server: TritonServer, name: str) -> None:
    """Kill a model's processes.

    For one that dies before its second thread has told that it is well, Triton waits for ever, and
    never loads that model again.
    """
    if stubs := server.model_processes(name):
        with suppress(TimeoutError):
            async with asyncio.timeout(STUB_BEGINS_S):
                while any(stub.threads() == 1 for stub in stubs):  # noqa: ASYNC110 - it is not told
                    await asyncio.sleep(POLL_S)
        await asyncio.sleep(STUB_TELLS_S)
    for stub in stubs:
        stub.signal(signal.SIGKILL)
