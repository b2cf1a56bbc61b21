"""What the node's machine has, as it finds it; what the settings say instead, stands."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

ASK: Final = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
ASK_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs of a machine."""

    count: int = 0
    memory_mb: int = 0  # of each, of the smallest where they differ
    model: str = ""


def memory_mb() -> int:
    """Return how much memory the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20


def gpus(command: Sequence[str] = ASK) -> Gpus:
    """Ask the driver of NVIDIA's GPUs; none where there is none."""
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, timeout=ASK_S, check=True, env=os.environ
        )
    except (OSError, subprocess.SubprocessError):
        return Gpus()
    return read_gpus(asked.stdout)


def read_gpus(told: str) -> Gpus:
    """Read a line for each GPU: its name, and its memory in MiB."""
    found = []
    for line in told.splitlines():
        name, _, memory = line.rpartition(",")
        if name.strip() and memory.strip().isdigit():
            found.append((name.strip(), int(memory)))
    if not found:
        return Gpus()
    return Gpus(len(found), min(memory for _, memory in found), found[0][0])
