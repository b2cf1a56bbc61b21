"""A peer: somebody else's gateway, in an environment of its own, with a committed configuration."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from bench import workloads
from bench.processes import NotThere, free_ports, running
from bench.targets import Backend, Started, wait_for_answer
from bench.workloads import Ask

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
INSTALL_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one run of a peer has its files and ports."""

    bin: Path  # of its environment
    folder: Path
    port: int
    second_port: int
    backend: str  # host:port


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Implements `bench.targets.Target`; `files` are rendered into the run's folder."""

    name: str
    upstream: str
    checks: str
    program: str
    command: Callable[[Place], list[str | Path]]
    requirements: tuple[str, ...] = ()  # of pip, for an environment of its own
    package: str = ""  # of the system; with neither it runs in our environment
    files: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    asks: Callable[[str], Ask | None] | None = None
    boot_s: float = 30.0
    is_usual: bool = False  # whether it is measured unless others are named

    @property
    def about(self) -> str:
        """Return both notes in one."""
        return f"{self.upstream}; {self.checks}"

    def ask(self, workload: str, seconds: float, tokens: int) -> Ask | None:
        """Return what everyone is asked, or what this one takes instead."""
        if self.asks:
            return self.asks(workload)
        return workloads.ask(workload, seconds=seconds, tokens=tokens)

    def is_installed(self) -> bool:
        """Whether it could be started now."""
        if self.requirements:
            return (self._bin() / ".installed").exists()
        return not self.package or _on_path(self.program) is not None

    def install(self) -> None:
        """Make its environment, or ask the system's package manager; raises NotThere."""
        if self.is_installed():
            return
        if self.requirements:
            _make_environment(self._bin().parent, self.requirements)
            (self._bin() / ".installed").touch()
        elif os.geteuid() == 0 and shutil.which("apt-get"):
            _call(["apt-get", "install", "-y", "--no-install-recommends", self.package])
        if not self.is_installed():
            raise NotThere(f"{self.name} is not installed, and only root can: apt install it")

    def version(self) -> str:
        """Return the version of its package."""
        if self.requirements:
            name = re.split(r"[\[=<>~]", self.requirements[0])[0]
            code = f"import importlib.metadata as m; print(m.version({name!r}))"
            return _output([self._bin() / "python", "-c", code])
        if not self.package:
            return metadata.version(self.program)
        found = re.search(r"\d+\.\d+[\w.]*", _output([_on_path(self.program) or "", "-v"]))
        return found[0] if found else ""

    @contextmanager
    def started(self, backend: Backend, folder: Path) -> Iterator[Started]:
        """Run it while inside."""
        port, second = free_ports(2)
        place = Place(
            bin=self._bin(), folder=folder, port=port, second_port=second, backend=backend.http
        )
        for name in self.files:
            (folder / name).write_text(rendered((HERE / name).read_text("utf-8"), place), "utf-8")
        command = self.command(place)
        if self.package:
            path = _on_path(self.program) or self.program
            command = [path if each == self.program else each for each in command]
        with running(command, log=folder / f"{self.name}.log", env=self.environment) as process:
            started = Started(address=f"127.0.0.1:{port}", gateway=[process])
            ask = self.ask("unary", 1.0, 1)
            assert ask is not None
            wait_for_answer(started, ask, seconds=self.boot_s)
            yield started

    def _bin(self) -> Path:
        return (
            ROOT / ".bench" / self.name / "bin" if self.requirements else Path(sys.prefix) / "bin"
        )


def rendered(text: str, place: Place) -> str:
    """Return a configuration with its ports and addresses."""
    host, _, port = place.backend.rpartition(":")
    values = {
        "PORT": str(place.port),
        "SECOND_PORT": str(place.second_port),
        "BACKEND": place.backend,
        "BACKEND_HOST": host,
        "BACKEND_PORT": port,
        "FOLDER": str(place.folder),
        "USER": getpass.getuser(),
    }
    return re.sub(r"@([A-Z_]+)@", lambda found: values.get(found[1], found[0]), text)


def _make_environment(folder: Path, requirements: tuple[str, ...]) -> None:
    """Make a Python environment by uv, or by venv and pip where there is no uv."""
    ours = ROOT / ".uv/bin/uv"
    uv = str(ours) if ours.exists() else shutil.which("uv")
    python = folder / "bin/python"
    if uv:
        _call([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder)])
        _call([uv, "pip", "install", "--quiet", "--python", str(python), *requirements])
    else:
        _call([sys.executable, "-m", "venv", str(folder)])
        _call([str(python), "-m", "pip", "install", "--quiet", *requirements])


def _call(command: list[str]) -> None:
    """Run an installer; NotThere with its last words if it fails."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotThere(f"`{' '.join(command[:4])} ...` failed: {error}") from error
    if done.returncode:
        raise NotThere(
            f"`{' '.join(command[:4])} ...` failed: {(done.stderr or done.stdout)[-600:]}"
        )


def _output(command: list[str | Path]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).strip()


def _on_path(program: str) -> str | None:
    """Return where a program of the system is; some are in sbin, which users' paths lack."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin:/sbin")
