"""Processes that may outlive us: told apart from later ones of the same number, found, killed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROC = Path("/proc")
POLL_S = 0.02
TRITONS = ("tritonserver", "triton_python_backend_stub")
ZOMBIE = ("Z", "X")  # states of what has ended and waits to be reaped


@dataclass(frozen=True, slots=True)
class Process:
    """One process, for as long as the machine runs: numbers are used again, start times are not."""

    pid: int
    started: str  # boot and clock tick

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has this number now; None if there is none but perhaps a zombie."""
        state, process = cls._look(pid)
        return None if state in ZOMBIE else process

    def is_alive(self) -> bool:
        """Whether this very process still runs; a child of ours that ended is reaped by asking."""
        state, process = self._look(self.pid)
        if process != self:
            return False
        if state in ZOMBIE:
            with contextlib.suppress(ChildProcessError):  # not ours: whoever adopted it may reap it
                os.waitpid(self.pid, os.WNOHANG)
            return False
        return True

    @classmethod
    def _look(cls, pid: int) -> tuple[str, Self | None]:
        try:
            with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
                told = file.read()
        except OSError:
            return "", None
        # "pid (name) state ppid ...": the name may hold anything, so count from its end.
        fields = told.rpartition(b")")[2].decode().split()
        return fields[0], cls(pid, f"{_boot()}/{fields[19]}")

    def threads(self) -> int:
        """Return how many threads it has; none if it runs no more."""
        with contextlib.suppress(OSError):
            return len(os.listdir(PROC / str(self.pid) / "task")) if self.is_alive() else 0
        return 0

    async def ended(self) -> None:
        """Return when it runs no more."""
        while self.is_alive():  # noqa: ASYNC110 - nothing tells of one that is no child of ours
            await asyncio.sleep(POLL_S)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


@functools.cache
def _boot() -> str:
    """Return what no other boot of the machine has."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def mentioning(*paths: Path) -> list[Process]:
    """The processes of ours that have, for each of these paths, an argument in or at it."""
    found = []
    for entry in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended as we looked
            arguments = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
            if not _is_ours(arguments):
                continue
            # "path" or "--option=path"
            values = [Path(argument.rpartition("=")[2]) for argument in arguments]
            if all(any(value.is_relative_to(path) for value in values) for path in paths):
                found.append(Process.of(int(entry.name)))
    return [process for process in found if process]


def _is_ours(arguments: list[str]) -> bool:
    """Whether it is a Triton, a model's stub, or Python that runs a module of this service.

    Somebody who reads the log of a Triton names its folder as well.
    """
    if arguments[0].rpartition("/")[2] in TRITONS:
        return True
    module = arguments[arguments.index("-m") + 1 :][:1] if "-m" in arguments else []
    return any(name.startswith("services.node.") for name in module)
