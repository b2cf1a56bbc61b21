"""Makes the Triton environment: a Python environment of its own that holds a real tritonserver.

It ends with `environment.json`, which says where things are (the node reads it) and what was
installed: a second run compares that with the lock and does nothing.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "requirements.lock"
FACTS = "environment.json"
VERSIONS = ("3.12", "3.11", "3.10")
MINIMUM_GLIBC = (2, 35)
CANNOT_RUN = 3

LIBRARY_PROBE = """
import os, sys, sysconfig
name = "libpython%d.%d.so.1.0" % sys.version_info[:2]
places = [
    sysconfig.get_config_var("LIBDIR") or "",
    os.path.join(sys.base_prefix, "lib"),
    "/usr/lib/" + (sysconfig.get_config_var("MULTIARCH") or ""),
]
print(next((place for place in places if os.path.exists(os.path.join(place, name))), ""))
"""


class CannotRun(Exception):
    """Triton has no build for this machine, or a part of it is missing; says which."""


@dataclass(frozen=True)
class Interpreter:
    """A Python that can carry Triton's model stub."""

    version: str
    executable: str
    library_path: str  # the folder of its libpython


def main() -> int:
    """Make or confirm the environment; exit code 3 where Triton cannot run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv", help="the uv to install with")
    parser.add_argument("--target", type=Path, required=True, help="the environment's folder")
    arguments = parser.parse_args()
    try:
        check_platform()
        with LOCK.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two set-ups at once would clear each other's work
            make(uv=arguments.uv, target=arguments.target.absolute())
    except CannotRun as reason:
        say(
            f"Triton does not run here ({reason}): set CONSTELLATION_TRITON=host:port"
            " for the demo models, or `external` endpoints in the catalog"
        )
        return CANNOT_RUN
    except subprocess.CalledProcessError as error:
        say(f"The Triton environment could not be made: {error.cmd[0]} {error.cmd[1]} failed.")
        return 1
    return 0


def make(*, uv: str, target: Path) -> None:
    """Install the lock into `target`, from the start unless it is complete."""
    requirements = fingerprint()
    if is_complete(target, requirements):
        return
    began = time.monotonic()
    interpreter = find_interpreter(uv)
    say(f"making .triton with Python {interpreter.version}, about 500 MB ...")
    shutil.rmtree(target, ignore_errors=True)
    run(uv, "venv", "--quiet", "--no-project", "--python", interpreter.executable, str(target))
    python = target / "bin" / "python"
    run(
        *(uv, "pip", "sync", "--quiet", "--require-hashes", "--only-binary", ":all:"),
        *("--python", str(python), str(LOCK)),
    )
    run(str(python), str(HERE / "text_embeddings" / "1" / "minilm.py"))
    facts = {
        "requirements": requirements,
        "python": interpreter.version,
        "library_path": interpreter.library_path,
    }
    unfinished = target / (FACTS + ".new")
    unfinished.write_text(json.dumps(facts, indent=2) + "\n")
    unfinished.replace(target / FACTS)  # the last step: without this file the work is half done
    say(f"made .triton in {time.monotonic() - began:.0f} s")


def fingerprint() -> str:
    """What the environment is made from, as one hash."""
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def is_complete(target: Path, requirements: str) -> bool:
    """Whether a set-up from these requirements came to its end and its Python is still there."""
    try:
        facts = json.loads((target / FACTS).read_text())
    except (OSError, ValueError):
        return False
    if facts.get("requirements") != requirements or not (target / "bin" / "python").exists():
        return False
    return library_of(facts["library_path"], facts["python"]).exists()


def check_platform() -> None:
    """Refuse what the wheel is not built for, before anything is downloaded."""
    if sys.platform != "linux":
        raise CannotRun(f"no build for {platform.system()}")
    if platform.machine() not in ("x86_64", "aarch64"):
        raise CannotRun(f"no build for {platform.machine()}")
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except ValueError:
        name, version = "", ""
    if name != "glibc":
        raise CannotRun("no build for a C library other than glibc")
    if tuple(int(part) for part in version.split(".")[:2]) < MINIMUM_GLIBC:
        raise CannotRun(f"it needs glibc 2.35 or newer, this is {version}")


def find_interpreter(uv: str) -> Interpreter:
    """The first Python that fits: of those installed, else one that uv may download."""
    without_library = []
    for version in VERSIONS:
        executable = ask(uv, "python", "find", "--system", "--no-python-downloads", version)
        if executable and (interpreter := inspect(version, executable)):
            return interpreter
        if executable:
            without_library.append(version)
    newest = VERSIONS[0]
    if ask(uv, "python", "install", "--quiet", newest) is not None:
        executable = ask(uv, "python", "find", "--managed-python", newest)
        if executable and (interpreter := inspect(newest, executable)):
            return interpreter
    if without_library:
        version = without_library[0]
        raise CannotRun(
            f"libpython{version}.so.1.0 is missing; try `apt install libpython{version}`"
        )
    raise CannotRun(f"it needs Python {', '.join(VERSIONS[:-1])} or {VERSIONS[-1]}")


def inspect(version: str, executable: str) -> Interpreter | None:
    """The interpreter with its shared library, or None if it has none."""
    folder = ask(executable, "-c", LIBRARY_PROBE)
    if not folder or not library_of(folder, version).exists():
        return None
    return Interpreter(version=version, executable=executable, library_path=folder)


def library_of(folder: str, version: str) -> Path:
    """Where the shared library of a Python is."""
    return Path(folder) / f"libpython{version}.so.1.0"


def run(*command: str) -> None:
    """Run a step; its own output tells what went wrong."""
    subprocess.run(command, check=True)


def ask(*command: str) -> str | None:
    """The output of a command, or None if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def say(line: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
