"""The base images of tests: pulled, and made of Debian under their names where they cannot be.

What is made has the label `constellation.made-of`. It stands in for the real one as far as the
cluster uses it: the same version, files, user and settings.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.cluster.engine import HERE, TOOLS, NoEngine, ask, client

ROOT: Final = "debian:bookworm-slim"
FOLDERS: Final[Mapping[str, str]] = {  # in bases/, by what their images are called
    "python:3.11.14-slim-bookworm": "python",
    "prom/prometheus:v2.42.0": "prometheus",
    "postgres:15-bookworm": "postgres",
    "valkey/valkey:9.1": "valkey",
    "apache/kafka:4.1.1": "kafka",
}
PULL_S: Final = 300.0
BUILD_S: Final = 600.0
AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
LABEL: Final = "constellation.made-of"


def ensure(name: str) -> str:
    """Have an image here, and return how: `there`, `pulled` or `made`."""
    if ask("image", "inspect", name) is not None:
        return "there"
    if pull(name):
        return "pulled"
    if name == ROOT:
        make_root()
    elif name in FOLDERS:
        with context_of(HERE / "bases" / FOLDERS[name]) as folder:
            for base in bases_of(folder):
                ensure(base)
            build(folder, "-t", name, "--label", f"{LABEL}=Debian")
    else:
        raise NoEngine(f"{name} cannot be pulled, and there is no way to make it here")
    return "made"


def pull(name: str) -> bool:
    """Whether it could be pulled."""
    try:
        done = subprocess.run(
            [client(), "pull", "--quiet", name], capture_output=True, timeout=PULL_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def bases_of(folder: Path) -> list[str]:
    """Return the images that a Dockerfile begins its stages with."""
    return re.findall(r"^FROM (\S+:\S+)", (folder / "Dockerfile").read_text(), re.M)


def build(folder: Path, *arguments: str, builder: str = "1") -> None:
    """Build the Dockerfile of a folder; `builder` 0 is the old one."""
    subprocess.run(
        [client(), "build", "--quiet", *arguments, str(folder)],
        env={**os.environ, "DOCKER_BUILDKIT": builder},
        stdout=sys.stderr,
        timeout=BUILD_S,
        check=True,
    )


@contextmanager
def context_of(folder: Path) -> Iterator[Path]:
    """Yield what a base is made from: its folder, with the part of the tools that it names."""
    named = folder / "context"
    if not named.exists():
        yield folder
        return
    tools = TOOLS / named.read_text().strip()
    if not tools.exists():
        raise NoEngine(f"there is no {tools}: run `make tools`")
    with tempfile.TemporaryDirectory() as made:
        shutil.copytree(folder, made, dirs_exist_ok=True)
        shutil.copytree(tools, Path(made, tools.name))
        yield Path(made)


def make_root() -> None:
    """Make a minimal Debian, which trusts whom this machine trusts."""
    if not shutil.which("debootstrap") or os.getuid() != 0:
        raise NoEngine(f"{ROOT} cannot be pulled; to make it takes debootstrap, and root")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        _run(
            ["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(root)]
        )
        if Path(AUTHORITIES).exists():
            shutil.copyfile(AUTHORITIES, root / AUTHORITIES.lstrip("/"))
        for emptied in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc"):
            shutil.rmtree(root / emptied, ignore_errors=True)
        changes = [f"ENV SSL_CERT_FILE={AUTHORITIES} PIP_CERT={AUTHORITIES}", 'CMD ["bash"]']
        command = [
            client(),
            "import",
            *(part for each in changes for part in ("-c", each)),
            "-",
            ROOT,
        ]
        with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(command, stdin=tar.stdout, stdout=sys.stderr, check=True)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoEngine(f"{command[0]} failed: {(done.stdout + done.stderr)[-500:]}")
