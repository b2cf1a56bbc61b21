"""Starts real processes, waits for them, calls them, kills them, and looks for what they leave."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx

from services.node.drivers import guard

ROOT = Path(__file__).parents[2]
ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "cst_token-for-tests"
CHAT = "@cf/demo/text-generation"
EMBED = "@cf/demo/text-embeddings"
QUICK = {  # the scheduler decides each second instead of each minute
    "CONSTELLATION_NODE_NICE": "0",  # other tests would take the CPUs from Tritons that step back
    "CONSTELLATION_SCHEDULER_TICK_S": "1",
    "CONSTELLATION_SCHEDULER_MEASURE_S": "0.25",
}


PORTS, LAST_PORT = 2_000, 32_000  # of each worker, and where Linux's own begin, nearly
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
_PORTS = itertools.cycle(range(LAST_PORT - (_WORKER + 1) * PORTS, LAST_PORT - _WORKER * PORTS))


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, and that nobody else is given.

    They are below those that the system gives to connections, each worker of the tests has its
    own, and none comes twice.
    """
    found: list[int] = []
    for port in _PORTS:
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            break
    return found


def until(condition: Callable[[], Any], *, seconds: float, what: str | Callable[[], str]) -> Any:
    """Wait for a truthy value, and return it; `what` may look at the end, to say more."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")


@dataclass
class Service:
    """One `constellation ...` process."""

    arguments: list[str]
    state: Path
    env: dict[str, str] = field(default_factory=dict)
    log_level: str = "info"
    process: subprocess.Popen[str] = field(init=False)

    def start(self) -> Service:
        self.log = self.state / f"{self.arguments[0]}-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "services.cli", *self.arguments]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--state-dir", str(self.state), "--log-level", self.log_level],
                cwd=ROOT,
                env={**os.environ, "CONSTELLATION_TOKEN": TOKEN, **QUICK, **self.env},
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        return self

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, words: str, *, seconds: float = 60) -> None:
        def said() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"{self.arguments[0]} ended:\n{self.text()}")
            return words in self.text()

        until(said, seconds=seconds, what=f"{words!r} in\n{self.text()[-3000:]}")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self, *, number: signal.Signals = signal.SIGTERM, seconds: float = 40) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)


def processes_of(state: Path) -> dict[int, str]:
    """Everything alive whose command line names the state folder."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            is_zombie = "\nState:\tZ" in (entry / "status").read_text()
        except OSError:
            continue
        if str(state) in command and not is_zombie and int(entry.name) != os.getpid():
            found[int(entry.name)] = command
    return found


def tritons_of(state: Path) -> dict[int, str]:
    return {pid: each for pid, each in processes_of(state).items() if "/bin/tritonserver" in each}


@contextmanager
def cleaned_up(state: Path) -> Iterator[None]:
    """Leave nothing running, whatever the test did."""
    try:
        yield
    finally:
        for pid, command in processes_of(state).items():
            if "drivers.guard" not in command:  # they end by themselves, and clear away the rest
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for folder in [state / "triton", *state.glob("nodes/*")]:
            asyncio.run(guard.clear(folder))
        until(lambda: not processes_of(state), seconds=10, what="everything is gone")


class Client:
    """Calls one entry over HTTP."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.account = f"{self.base}/client/v4/accounts/{ACCOUNT}"
        self.http = httpx.Client(
            headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60, trust_env=False
        )

    def run(self, model: str, **body: Any) -> httpx.Response:
        return self.http.post(f"{self.account}/ai/run/{model}", json=body)

    def metric(self, name: str, **labels: str) -> float:
        text = self.http.get(f"{self.base}/metrics").text
        lines = [line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name]
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if all(w in line for w in wanted)
        )

    def close(self) -> None:
        self.http.close()


def constellation(state: Path, *words: str) -> str:
    """What a command says that asks what runs in the state folder."""
    command = [sys.executable, "-m", "services.cli", *words, "--state-dir", str(state)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def usage(state: Path) -> dict[str, dict[str, Any]]:
    """What `constellation usage --json` says, by model."""
    return {row["model"]: row for row in json.loads(constellation(state, "usage", "--json"))}


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


class Up:
    """One `constellation up`, and a client of it."""

    def __init__(self, state: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.state = state
        self.http, self.grpc = free_ports(2)
        ports = ["--http-port", str(self.http), "--grpc-port", str(self.grpc)]
        self.service = Service(["up", *ports, *arguments], state, env or {})
        self.client = Client(self.http)

    def start(self) -> Up:
        self.service.start().wait_for("Constellation is up")
        return self

    def counted(self) -> dict[str, dict[str, Any]]:
        """Usage by model, once analytics has stored every event there is."""
        waiting = "constellation_server_events_waiting"
        until(lambda: self.client.metric(waiting) == 0, seconds=30, what="events are stored")
        return usage(self.state)
