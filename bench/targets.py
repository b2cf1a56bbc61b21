"""What is measured: a target starts its processes, and says how it is asked."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.processes import NotInTime, Process, until
from bench.workloads import Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Where the backend listens."""

    grpc: str
    http: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A target that runs: `gateway` is what is measured, `beside` is told apart from it."""

    address: str
    gateway: Sequence[Process]
    beside: Mapping[str, Sequence[Process]] = field(default_factory=dict)
    ca: str = ""
    entries: int = 1  # processes that take requests; a load is so many times as large

    def pids(self) -> list[int]:
        """Return all processes of the gateway."""
        return [pid for each in self.gateway for pid in each.tree()]

    def pids_beside(self) -> dict[str, list[int]]:
        """Return those of what runs beside it, by name."""
        return {
            name: [pid for each in processes for pid in each.tree()]
            for name, processes in self.beside.items()
        }


class Target(Protocol):
    """A gateway of ours or of others."""

    @property
    def name(self) -> str:
        """Return what it is called in tables."""
        ...

    @property
    def about(self) -> str:
        """Return how it talks to what is behind it, and what it checks."""
        ...

    def install(self) -> None:
        """Bring it onto this machine where it is not; raises NotThere."""
        ...

    def version(self) -> str:
        """Return its version, empty where it tells none."""
        ...

    def ask(self, workload: str, seconds: float, tokens: int) -> Ask | None:
        """Return a workload's request, None where it does not serve such."""
        ...

    def started(self, backend: Backend, folder: Path) -> AbstractContextManager[Started]:
        """Run it while inside; it has answered once when this is entered."""
        ...


def wait_for_answer(started: Started, ask: Ask, *, seconds: float) -> None:
    """Wait until the target answers rightly; Failure with its last words."""
    last = "nothing was answered"

    def answered() -> bool:
        nonlocal last
        for process in started.gateway:
            process.check()
        try:
            status, body = fetch(started, ask)
        except (OSError, http.client.HTTPException) as error:
            last = repr(error)
            return False
        last = f"{status}: {body[:300]!r}"
        return status == 200 and all(marker.encode() in body for marker in ask.markers)

    try:
        until(answered, seconds=seconds, what="a right answer")
    except NotInTime as error:
        words = "\n".join(process.said() for process in started.gateway)
        raise NotInTime(f"{error}; the last one: {last}\n{words}") from None


def fetch(started: Started, ask: Ask) -> tuple[int, bytes]:
    """Ask once."""
    host, _, port = started.address.rpartition(":")
    connection: http.client.HTTPConnection
    if started.ca:
        context = ssl.create_default_context(cafile=started.ca)
        connection = http.client.HTTPSConnection(host, int(port), timeout=10, context=context)
    else:
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        head = dict(line.split(": ", 1) for line in _header_lines(ask, started.address))
        connection.request("POST", ask.path, body=ask.body.encode(), headers=head)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _header_lines(ask: Ask, host: str) -> list[str]:
    head = ask.raw(host).split(b"\r\n\r\n", 1)[0].decode()
    return head.split("\r\n")[1:]
