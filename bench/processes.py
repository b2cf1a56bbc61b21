"""Processes: started in groups of their own, ended in all cases, and what they use (Linux only)."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

PROC = Path("/proc")
STOP_S = 8.0
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
TICKS = os.sysconf("SC_CLK_TCK")
T = TypeVar("T")


class Failure(Exception):
    """A measurement that cannot be made; its text says why."""


class NotInTime(Failure):
    """What was waited for did not come."""


class NotThere(Failure):
    """A target that this machine does not have and cannot get."""


@dataclass(frozen=True, slots=True)
class Process:
    """One that we started, with all that it starts itself."""

    popen: subprocess.Popen[bytes]
    log: Path

    def said(self, most: int = 1500) -> str:
        """Return the end of what it wrote."""
        with suppress(OSError):
            return self.log.read_text(errors="replace")[-most:]
        return ""

    def check(self) -> None:
        """Raise Failure if it has ended."""
        if self.popen.poll() is not None:
            name = (
                " ".join(map(str, self.popen.args[:4])) if isinstance(self.popen.args, list) else ""
            )
            raise Failure(f"`{name} ...` ended with {self.popen.returncode}:\n{self.said()}")

    def tree(self) -> list[int]:
        """Return it and all below it, or of its session."""
        return tree(self.popen.pid)


@contextmanager
def running(
    command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Run a command while inside; what it started ends with it."""
    with log.open("ab") as output:
        popen = subprocess.Popen(
            [str(each) for each in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=Path(__file__).parents[1],
            start_new_session=True,
            preexec_fn=ends_with_us,
        )
    try:
        yield Process(popen, log)
    finally:
        stop(popen)


def stop(popen: subprocess.Popen[bytes]) -> None:
    """End a process and its tree: first kindly, then not."""
    family = {pid: _began(pid) for pid in tree(popen.pid)}
    if popen.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            popen.wait(STOP_S)
    family |= {pid: _began(pid) for pid in tree(popen.pid)}
    left = {pid: began for pid, began in family.items() if _is_alive(pid, began)}
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    popen.wait(STOP_S)
    until(
        lambda: not any(_is_alive(pid, began) for pid, began in left.items()),
        seconds=STOP_S,
        what="all that was started is gone",
    )


def tree(root: int) -> list[int]:
    """Return the pids of a process, its descendants and those of its session."""
    found = {root} if (PROC / str(root)).exists() else set()
    parents = {pid: (int(stat[1]), int(stat[3])) for pid, stat in _stats()}
    found |= {pid for pid, (_, session) in parents.items() if session == root}
    while more := {pid for pid, (parent, _) in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return what processes have used so far, with their children that have ended."""
    total = 0
    for pid in pids:
        stat = _stat(pid)
        if stat is not None:
            total += sum(int(each) for each in stat[11:15])
    return total / TICKS


def memory_mb(pids: Iterable[int], field: str = "VmRSS") -> float:
    """Return their resident memory in MB, or the most that it ever was with VmHWM."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            lines = (PROC / str(pid) / "status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    return total * 1024 / 1e6


def prepare() -> int:
    """Allow as many open files as the system does, and return that; children inherit it.

    A SIGTERM from now on ends all that was started. NotThere where there is no /proc to read.
    """
    if not sys.platform.startswith("linux"):
        raise NotThere("the benchmark reads /proc and uses timerfd: it runs on Linux only")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def ends_with_us() -> None:
    """Ask the kernel for a SIGTERM when our parent dies, however it does; run in the child."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def until(condition: Callable[[], T | None], *, seconds: float, what: str) -> T:
    """Wait for a truthy value and return it; NotInTime when it does not come."""
    end = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > end:
            raise NotInTime(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def _began(pid: int) -> str:
    """Return when a process began, so that another with its number is not taken for it."""
    stat = _stat(pid)
    return stat[19] if stat else ""


def _is_alive(pid: int, began: str) -> bool:
    stat = _stat(pid)
    return stat is not None and stat[0] != "Z" and stat[19] == began


def _stats() -> Iterator[tuple[int, list[str]]]:
    for each in PROC.glob("[0-9]*"):
        stat = _stat(int(each.name))
        if stat is not None:
            yield int(each.name), stat


def _stat(pid: int) -> list[str] | None:
    """Return the fields after the name, which may hold anything: state, parent, group ..."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
