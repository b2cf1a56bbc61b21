"""Containers of tests: started, asked, and removed with their volumes on the way out."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.cluster.engine import client

Tell = Callable[[str], None]  # what the fixture `told` is
COMMAND_S: Final = 120.0
SEND: Final = """
import os, pathlib, sys
number, words = int(sys.argv[1]), sys.argv[2].encode()
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if process.name not in ("1", str(os.getpid())):
        if words in (process / "cmdline").read_bytes().replace(b"\\0", b" "):
            os.kill(int(process.name), number)
"""


class DockerFailed(AssertionError):
    """A command of the client failed; says what it said."""


def docker(*arguments: str) -> str:
    """Run the client, and return what it printed."""
    done = subprocess.run(
        [client(), *arguments], capture_output=True, text=True, timeout=COMMAND_S, check=False
    )
    if done.returncode != 0:
        raise DockerFailed(f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


class Container:
    """One that was started."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<Container {self.name}>"

    @property
    def facts(self) -> dict[str, Any]:
        """What the engine knows of it."""
        facts: dict[str, Any] = json.loads(docker("inspect", self.name))[0]
        return facts

    @property
    def health(self) -> str:
        """What its health check says: starting, healthy or unhealthy."""
        return str(self.facts["State"]["Health"]["Status"])

    @property
    def logs(self) -> str:
        """What it has printed."""
        done = subprocess.run(
            [client(), "logs", self.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
            check=True,
        )
        return done.stdout

    def port(self, inside: int) -> int:
        """Return where a port of its is on this machine."""
        return int(docker("port", self.name, str(inside)).splitlines()[0].rpartition(":")[2])

    def execute(self, *command: str) -> str:
        """Run a command in it."""
        return docker("exec", self.name, *command)

    def tried(self, *command: str) -> bool:
        """Whether a command in it ends well."""
        try:
            self.execute(*command)
        except DockerFailed:
            return False
        return True

    def signal(self, number: int, words: str) -> None:
        """Send a signal to the processes in it whose command has these words."""
        self.execute("python3", "-c", SEND, str(number), words)

    def wait_until(self, health: str, *, seconds: float) -> float:
        """Wait for what its health check is to say, and return how long that took."""
        began = time.monotonic()
        while (found := self.health) != health:
            state = self.facts["State"]
            if not state["Running"] or time.monotonic() > began + seconds:
                raise DockerFailed(f"{self.name} is {found}, {state}: {self.logs[-2000:]}")
            time.sleep(0.2)
        return time.monotonic() - began

    def stop(self, *, seconds: int) -> int:
        """Stop it with SIGTERM, and return its exit code; 137: it had to be killed."""
        docker("stop", "--time", str(seconds), self.name)
        return int(self.facts["State"]["ExitCode"])


@contextmanager
def container(image: str, *command: str, flags: tuple[str, ...] = ()) -> Iterator[Container]:
    """Run a container of the image, its root read-only, while inside."""
    name = f"constellation-test-{uuid.uuid4().hex[:8]}"
    try:
        docker("run", "-d", "--name", name, "--read-only", *flags, image, *command)
        yield Container(name)
    finally:
        subprocess.run([client(), "rm", "-fv", name], capture_output=True, check=False)


def output(image: str, *command: str, entrypoint: str = "", flags: tuple[str, ...] = ()) -> str:
    """Run a command in a container of its own, read-only and without a network."""
    chosen = ("--entrypoint", entrypoint) if entrypoint else ()
    given = (*chosen, "--network", "none", *flags)
    return docker("run", "--rm", "--read-only", *given, image, *command)
