"""Runs a command with a Docker engine and Compose: `python -m tests.cluster.engine COMMAND...`.

The engine is the one that answers already. Where there is none it is Debian's, installed if that
must be, and started for as long as the command runs; that takes root on Debian or Ubuntu.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.short_dirs import short_dir

HERE = Path(__file__).parent
TOOLS = HERE.parents[1] / ".tools"
START_S = 60.0
STOP_S = 60.0
ASK_S = 60.0
BEFORE_BUILDX = 23  # clients from this version on leave BuildKit to a plugin


class NoEngine(Exception):
    """There is none, and none can be started here; says why."""


def main(command: Sequence[str]) -> int:
    """Run the command; its exit code is ours."""
    try:
        compose = ensure_compose()
        with running() as host:
            env = {**os.environ, "DOCKER_HOST": host} if host else dict(os.environ)
            env["PATH"] = f"{compose}:{env['PATH']}" if compose else env["PATH"]
            return subprocess.run(command, env=env, check=False).returncode
    except NoEngine as reason:
        sys.stderr.write(f"no Docker engine: {reason}\n")
        return 1


@contextmanager
def running() -> Iterator[str]:
    """Have an engine while inside; yields its address, empty for the client's own default."""
    if answers(os.environ.get("DOCKER_HOST", "")):
        yield os.environ.get("DOCKER_HOST", "")
        return
    if os.environ.get("DOCKER_HOST"):
        raise NoEngine(f"nobody answers at DOCKER_HOST={os.environ['DOCKER_HOST']}")
    install()
    with short_dir() as folder, started(folder) as host:
        yield host


def answers(host: str) -> bool:
    """Whether an engine is there."""
    return bool(shutil.which("docker")) and ask("version", host=host) is not None


def install() -> None:
    """Install Debian's engine, and what makes base images, where they are missing."""
    wanted = {"dockerd": "docker.io", "debootstrap": "debootstrap", "iptables": "iptables"}
    missing = [package for program, package in wanted.items() if not shutil.which(program)]
    if os.getuid() != 0:
        raise NoEngine("start one, or run this as root on Debian")
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise NoEngine(f"start one; {', '.join(missing)} can only be installed on Debian or Ubuntu")
    get = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    if subprocess.run(get, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(get, stdout=subprocess.DEVNULL, check=True)


@contextmanager
def started(folder: Path, data: Path = TOOLS / "docker") -> Iterator[str]:
    """Run an engine of our own; what it built stays in `data` for the next time."""
    data.mkdir(parents=True, exist_ok=True)
    host = f"unix://{folder}/d.sock"
    command = ["dockerd", "--data-root", str(data), "--exec-root", f"{folder}/exec"]
    command += ["-H", host, "--pidfile", f"{folder}/d.pid"]
    with (data / "dockerd.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(process, host, data / "dockerd.log")
        yield host
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        leave_no_rules()


def _wait_for(process: subprocess.Popen[bytes], host: str, log: Path) -> None:
    until = time.monotonic() + START_S
    while not answers(host):
        if process.poll() is not None:
            raise NoEngine(f"dockerd ended: {log.read_text().splitlines()[-1:]}; see {log}")
        if time.monotonic() > until:
            raise NoEngine(f"dockerd does not answer after {START_S:.0f} s; see {log}")
        time.sleep(0.2)


def leave_no_rules() -> None:
    """Remove what an engine leaves in the kernel: its bridge, its rules and their chains."""
    subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True, check=False)
    for table in ("filter", "nat"):
        saved = subprocess.run(
            ["iptables-save", "-t", table], capture_output=True, text=True, check=False
        ).stdout
        for command in removals(saved):
            subprocess.run(["iptables", "-t", table, *command], capture_output=True, check=False)


def removals(saved: str) -> list[list[str]]:
    """Return how the rules and chains of an engine are removed, by what iptables-save printed."""
    chains = re.findall(r"^:(DOCKER\S*)", saved, re.M)
    rules = [line.split() for line in re.findall(r"^-A .*\b(?:DOCKER|docker0)\b.*$", saved, re.M)]
    foreign = [["-D", *rule[1:]] for rule in rules if not rule[1].startswith("DOCKER")]
    return [*foreign, *(["-F", each] for each in chains), *(["-X", each] for each in chains)]


def client() -> str:
    """Return the first client of PATH that can build with this engine's BuildKit."""
    found = [Path(each, "docker") for each in os.environ["PATH"].split(os.pathsep)]
    usable = [str(each) for each in found if os.access(each, os.X_OK)]
    for each in usable:
        version = subprocess.run([each, "--version"], capture_output=True, text=True, check=False)
        major = re.search(r"version (\d+)", version.stdout)
        if major and int(major[1]) < BEFORE_BUILDX:
            return each
        buildx = subprocess.run([each, "buildx", "version"], capture_output=True, check=False)
        if buildx.returncode == 0:
            return each
    return usable[0] if usable else "docker"


def ask(*arguments: str, host: str = "") -> str | None:
    """Return what the client prints, None where it fails."""
    env = {**os.environ, "DOCKER_HOST": host} if host else dict(os.environ)
    try:
        done = subprocess.run(
            [client(), *arguments],
            capture_output=True,
            text=True,
            timeout=ASK_S,
            env=env,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def ensure_compose() -> Path | None:
    """Return the folder of a docker-compose to put before PATH; None where there is one."""
    if shutil.which("docker-compose"):
        version = subprocess.run(["docker-compose", "version", "--short"], capture_output=True)
        if version.stdout.lstrip(b"v")[:1].isdigit() and version.stdout.lstrip(b"v")[:2] != b"1.":
            return None
    folder, lock = TOOLS / "compose", HERE / "requirements.lock"
    ready = folder / ".ready"
    if not ready.exists() or ready.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "-r", str(lock)], check=True)
        ready.touch()
    return folder / "bin"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
