"""One tritonserver process: its folder, its ports, its life.

The folder holds the model repository, the log, a python backend of its own, and a record of the
process, by which a later node agent knows it again. Every process of this Triton, model stubs
included, names its backends folder in its command line: that is how leftovers are found.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.node.drivers import processes
from services.node.drivers.json_files import write_json
from services.node.drivers.processes import Process
from services.node.drivers.triton_environment import TritonEnvironment, lay_out_backend
from services.node.drivers.triton_ports import TritonPorts
from services.node.ports import BootFailed

SHARED_MEMORY = Path("/dev/shm")
LOG_TAIL_BYTES = 20 * 1024
READY_POLL_S = 0.02
KILL_SECONDS = 5.0


class TritonServer:
    """A tritonserver with explicit model control, kept in one folder.

    `start` on a living one only waits until it is ready; `stop` on a dead one only cleans up.
    """

    def __init__(
        self,
        *,
        folder: Path,
        environment: Path,
        detach: bool,
        host: str = "127.0.0.1",
        listen: str = "",
        boot_seconds: float = 60.0,
        stop_seconds: float = 10.0,
        nice: int = 0,
    ) -> None:
        self._folder = folder.absolute()
        self._environment = environment.absolute()
        self._detach = detach
        self._host = host
        self._listen = listen or host
        self._boot_seconds = boot_seconds
        self._stop_seconds = stop_seconds
        self._nice = nice
        self._starting = asyncio.Lock()
        self._process: Process | None = None
        self._is_killed = False  # and may take a moment to end
        self._ports = TritonPorts.preferred(self._folder)

    def __repr__(self) -> str:
        state = f"pid={self._process.pid}" if self._process and self.is_alive() else "down"
        return f"<TritonServer {self._folder.name} {state} grpc={self._ports.grpc}>"

    @property
    def folder(self) -> Path:
        """The folder that is its own."""
        return self._folder

    @property
    def repository(self) -> Path:
        """The folder from which it loads models."""
        return self._folder / "repository"

    @property
    def memory_prefix(self) -> str:
        """How its shared memory is named; the same at every start, so that leftovers are found."""
        digest = hashlib.blake2s(os.fsencode(self._folder), digest_size=6).hexdigest()
        return f"constellation-{digest}-"

    @property
    def address(self) -> str:
        """host:port of its gRPC."""
        return f"{self._host}:{self._ports.grpc}"

    @property
    def process(self) -> Process | None:
        """What runs, or ran last."""
        return self._process

    def is_alive(self) -> bool:
        """Whether the process runs; a zombie does not, nor does who is about to be one."""
        return self._process is not None and self._process.is_alive() and not self._is_killed

    def adopt(self) -> bool:
        """Take over what the record names, if that very process still runs."""
        try:
            record = json.loads(self._record.read_text())
            self._ports = TritonPorts(**record["ports"])
            self._process = Process(**record["process"])
        except (OSError, ValueError, TypeError, KeyError):
            return False
        return self.is_alive()

    async def start(self) -> None:
        """Bring it up unless it is, and wait until it is ready."""
        async with self._starting:
            spawned = not self.is_alive()
            try:
                if spawned:
                    await self.clear_leftovers()
                    self._spawn(TritonEnvironment.read(self._environment))
                await self._wait_until_ready()
            except BaseException as error:
                # One that lives and hangs is of no use either; but who only gives up waiting for
                # one that serves others must not take it from them.
                if spawned or isinstance(error, BootFailed):
                    self._signal_all(signal.SIGKILL)
                    self._is_killed = True
                raise

    async def stop(self, *, gently: bool = True) -> None:
        """End it, gently at first or at once, and leave nothing behind but the folder."""
        if self._process and gently:
            self._process.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._stop_seconds):
                    await self._process.ended()
        await self.clear_leftovers()
        self._record.unlink(missing_ok=True)

    def model_processes(self, name: str) -> list[Process]:
        """The stubs of a model that runs in Python."""
        return processes.mentioning(self._backends / "python", self.repository / name)

    def log_size(self) -> int:
        """How long the log is now; the place from which `log_tail` shall tell."""
        with contextlib.suppress(OSError):
            return self._log.stat().st_size
        return 0

    def log_tail(self, since: int = 0) -> str:
        """The last of the log, at most 20 KiB of it."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(since, self.log_size() - LOG_TAIL_BYTES))
                return log.read(LOG_TAIL_BYTES).decode(errors="replace")
        except OSError:
            return ""

    @property
    def _log(self) -> Path:
        return self._folder / "triton.log"

    @property
    def _backends(self) -> Path:
        return self._folder / "backends"

    @property
    def _record(self) -> Path:
        return self._folder / "process.json"

    def _spawn(self, environment: TritonEnvironment) -> None:
        self.repository.mkdir(parents=True, exist_ok=True)
        lay_out_backend(self._backends / "python", environment)
        with contextlib.suppress(FileNotFoundError):
            self._log.replace(self._log.with_suffix(".log.1"))
        self._ports = self._ports.or_free(self._listen)
        # A Ctrl-C at the terminal is not for it. Who outlives us has a session of its own; who
        # does not stays in ours, as Linux weighs sessions before it looks at what is in them.
        apart: dict[str, Any] = {"setsid": True} if self._detach else {"setpgroup": 0}
        # Not a subprocess of asyncio, which would kill it when the event loop ends.
        pid = os.posix_spawn(
            sys.executable,
            launcher(environment, detach=self._detach, nice=self._nice)
            + self._command(environment),
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, self._log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            **apart,
        )
        self._process, self._is_killed = Process.of(pid), False
        if self._process:  # else it ended at once, as waiting for it will tell
            record = {"process": asdict(self._process), "ports": asdict(self._ports)}
            write_json(self._record, record)

    def _command(self, environment: TritonEnvironment) -> list[str]:
        listen = asdict(self._ports)
        return [
            str(environment.distribution / "bin" / "tritonserver"),
            f"--model-repository={self.repository}",
            f"--backend-directory={self._backends}",
            f"--cache-directory={environment.distribution / 'caches'}",
            *(f"--{name}-address={number_of(self._listen)}" for name in listen),
            *(f"--{name}-port={port}" for name, port in listen.items()),
            "--model-control-mode=explicit",
            "--strict-readiness=false",  # one model that failed does not make the server unready
            "--disable-auto-complete-config",  # three times as fast to ready
            "--allow-gpu-metrics=false",
            f"--exit-timeout-secs={int(self._stop_seconds)}",
            "--log-format=ISO8601",
            f"--backend-config=python,shm-region-prefix-name={self.memory_prefix}",
            "--backend-config=python,shm-default-byte-size=1048576",
        ]

    async def _wait_until_ready(self) -> None:
        try:
            async with asyncio.timeout(self._boot_seconds):
                while self.is_alive():
                    if await answers(self._host, self._ports.http, "/v2/health/ready"):
                        return
                    await asyncio.sleep(READY_POLL_S)
        except TimeoutError as error:
            reason = f"Triton was not ready after {self._boot_seconds:g} s"
            raise BootFailed(reason, log=self.log_tail()) from error
        raise BootFailed("Triton ended as it started", log=self.log_tail())

    def _signal_all(self, number: signal.Signals) -> list[Process]:
        found = processes.mentioning(self._backends)
        for process in found:
            process.signal(number)
        return found

    async def clear_leftovers(self) -> None:
        """Kill what is left of it, stubs too, and give back its shared memory."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_SECONDS):
                for process in self._signal_all(signal.SIGKILL):
                    await process.ended()
                if self._process and self._is_killed:
                    await self._process.ended()
        remove_memory(self.memory_prefix)


def remove_memory(prefix: str) -> None:
    """Unlink the shared memory of processes that are gone."""
    for segment in SHARED_MEMORY.glob(f"{prefix}*"):
        segment.unlink(missing_ok=True)


def launcher(environment: TritonEnvironment, *, detach: bool, nice: int) -> list[str]:
    """The first half of the command line: what sets environment, priority and death signal."""
    search = f"{environment.binaries}:{os.environ.get('PATH', os.defpath)}"
    return [
        *(sys.executable, "-P", "-m", "services.node.launch", "--parent", str(os.getpid())),
        *(["--detach"] if detach else []),
        *(
            "--nice",
            str(nice),
            "--set",
            f"PATH={search}",
            "--set",
            f"LD_LIBRARY_PATH={environment.libraries}",
        ),
        *("--set", "PYTHONPATH=", "--set", "PYTHONHOME=", "--"),
    ]


def number_of(host: str) -> str:
    """Return the IPv4 address of a name; Triton would take a name for 255.255.255.255."""
    try:
        return socket.gethostbyname(host)
    except OSError:  # an IPv6 address, or a name that Triton is to complain of
        return host


async def answers(host: str, port: int, path: str) -> bool:
    """Whether an HTTP server there says 200."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(host, port)
            with contextlib.closing(writer):
                writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                return (await reader.readline()).split()[1:2] == [b"200"]
    except (OSError, TimeoutError):
        return False
