"""What the numbers were measured on; a table without it says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.targets import Target
from libs import compiled

ROOT = Path(__file__).parents[1]


def machine(targets: Iterable[Target]) -> dict[str, Any]:
    """Return the machine, its software and the versions of what is measured."""
    return {
        "cpu": cpu_model(Path("/proc/cpuinfo")),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "compiled": compiled.in_use(),
        "commit": _commit(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {each.name: each.version() for each in targets},
    }


def cpu_model(path: Path) -> str:
    """Return the processor's name, or its architecture where the kernel tells none."""
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _commit() -> str:
    """Return the commit that is measured, marked where the tree has changes."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
