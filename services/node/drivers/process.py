"""Instances as processes of their own: a command of the catalog for each, on a port of its own.

Each has a folder under `processes/` with its log and a record. Attached, the processes end with the
driver, and the guard ends what they leave; detached, they go on, and the next driver adopts them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from libs.common.addresses import in_brackets
from services.node.drivers.processes import Process
from services.node.drivers.sessions import Session
from services.node.drivers.triton_ports import is_free
from services.node.drivers.tritonserver import LOG_TAIL_BYTES, READY_POLL_S, answers
from services.node.ports import BootFailed, InstanceSpec, RunningInstance

FOLDER: Final = "processes"
ENDED: Final = "the process ended as it started"
FIRST, LAST = 18_000, 19_999  # below those of Tritons


class ProcessDriver:
    """Starts and stops commands; an InstanceDriver."""

    def __init__(
        self,
        *,
        folder: Path,
        root: Path,
        detach: bool = False,
        host: str = "127.0.0.1",
        boot_seconds: float = 600.0,
        stop_seconds: float = 10.0,
        nice: int = 0,
    ) -> None:
        """`folder` is for the driver's own use; commands run in `root`."""
        self._folder = folder.absolute() / FOLDER
        self._root = root.absolute()
        self._detach = detach
        self._host = host
        self._boot_seconds = boot_seconds
        self._stop_seconds = stop_seconds
        self._nice = nice
        self._running: dict[str, Session] = {}
        self._booting: dict[str, Session] = {}
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def __repr__(self) -> str:
        return f"<ProcessDriver running={len(self._running)} detach={self._detach}>"

    async def __aenter__(self) -> Self:
        """Adopt what a detached driver left running; end everything else."""
        for folder in self._folder.glob("*"):
            session = Session.read(folder)
            if session and self._detach and session.is_alive():
                self._running[session.id] = session
            elif session:
                await session.end(stop_s=0.0)
            else:
                shutil.rmtree(folder, ignore_errors=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything, or detached: leave what runs as it is."""
        left = list(self._booting.values())
        left += [] if self._detach else list(self._running.values())
        await asyncio.gather(*(each.end(stop_s=self._stop_seconds) for each in left))

    async def start(self, spec: InstanceSpec) -> RunningInstance:
        """Start the command, and return when it answers; what runs already stays as it is."""
        async with self._changing[spec.id]:
            known = self._running.get(spec.id)
            if known and known.is_alive() and not known.spec.differs_from(spec):
                return self._describe(known)
            if left := known or self._booting.get(spec.id):
                await self._end(left)
            return await self._boot(spec)

    async def stop(self, instance_id: str) -> None:
        """Bring the instance down; it has the stop time to end by itself."""
        async with self._changing[instance_id]:
            known = self._running.get(instance_id) or self._booting.get(instance_id)
            if known:
                await self._end(known)

    async def running(self) -> Mapping[str, RunningInstance]:
        """What lives now."""
        return {id_: self._describe(each) for id_, each in self._running.items() if each.is_alive()}

    def why_died(self, instance_id: str) -> str:
        """Nothing is known but that it did."""
        return "its process died"

    async def _boot(self, spec: InstanceSpec) -> RunningInstance:
        folder = self._folder / quote(spec.id, safe="")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        port = self._port(folder)
        session = self._spawn(spec, folder, port)
        # known from now on: who is cancelled below leaves something for `stop` to take down
        self._booting[spec.id] = session
        try:
            session.write()
            await self._wait_until_ready(session, spec.ready_path)
        except (BootFailed, OSError):
            await self._end(session)
            raise
        del self._booting[spec.id]
        self._running[spec.id] = session
        return self._describe(session, log=_log_tail(folder))

    def _spawn(self, spec: InstanceSpec, folder: Path, port: int) -> Session:
        values = {"port": str(port), "host": self._host, "name": spec.served_as}
        command = [_filled(part, values) for part in spec.command]
        launcher = [sys.executable, "-P", "-m", "services.node.launch"]
        launcher += ["--parent", str(os.getpid()), *(["--detach"] if self._detach else [])]
        launcher += ["--nice", str(self._nice), "--folder", str(self._root), "--", *command]
        log = folder / "process.log"
        pid = os.posix_spawn(
            sys.executable,
            launcher,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,  # a Ctrl-C at the terminal is not for it, and its children are known by it
        )
        process = Process.of(pid)
        if process is None:
            raise BootFailed(ENDED, log=_log_tail(folder))
        return Session(
            folder=folder,
            process=process,
            port=port,
            command=spec.command,
            id=spec.id,
            model=spec.model,
            served_as=spec.served_as,
        )

    async def _wait_until_ready(self, session: Session, path: str) -> None:
        try:
            async with asyncio.timeout(self._boot_seconds):
                while session.is_alive():
                    if await self._is_ready(session.port, path):
                        return
                    await asyncio.sleep(READY_POLL_S)
        except TimeoutError as error:
            reason = f"the process was not ready after {self._boot_seconds:g} s"
            raise BootFailed(reason, log=_log_tail(session.folder)) from error
        raise BootFailed(ENDED, log=_log_tail(session.folder))

    async def _is_ready(self, port: int, path: str) -> bool:
        """Whether it answers there, or without a path, listens."""
        if path:
            return await answers(self._host, port, path)
        try:
            async with asyncio.timeout(1):
                _, writer = await asyncio.open_connection(self._host, port)
                writer.close()
        except (OSError, TimeoutError):
            return False
        return True

    async def _end(self, session: Session) -> None:
        await session.end(stop_s=self._stop_seconds)
        self._running.pop(session.id, None)
        self._booting.pop(session.id, None)

    def _port(self, folder: Path) -> int:
        """Return a port that is free, the same at every start as far as nobody else has it."""
        taken = {each.port for each in (*self._running.values(), *self._booting.values())}
        digest = hashlib.blake2s(os.fsencode(folder), digest_size=4).digest()
        count = LAST + 1 - FIRST
        first = int.from_bytes(digest) % count
        for offset in range(count):
            port = FIRST + (first + offset) % count
            if port not in taken and is_free(self._host, port):
                return port
        raise BootFailed(f"no free port from {FIRST} to {LAST}")

    def _describe(self, session: Session, *, log: str = "") -> RunningInstance:
        address = f"{in_brackets(self._host)}:{session.port}"
        return RunningInstance(
            id=session.id, model=session.model, address=address, log=log, spec=session.spec
        )


def sessions_in(folder: Path) -> list[Session]:
    """Return what a driver's folder says that it has running."""
    found = (Session.read(each) for each in (folder / FOLDER).glob("*"))
    return [each for each in found if each is not None]


def _filled(part: str, values: Mapping[str, str]) -> str:
    """Put values where their names stand in braces; other braces stay, as JSON's do."""
    for name, value in values.items():
        part = part.replace(f"{{{name}}}", value)
    return part


def _log_tail(folder: Path) -> str:
    """Return the last of the log, at most 20 KiB of it."""
    with contextlib.suppress(OSError), (folder / "process.log").open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - LOG_TAIL_BYTES))
        return log.read().decode(errors="replace")
    return ""
