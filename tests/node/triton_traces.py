"""What a Triton that a node started leaves to see: its process, and its shared memory."""

from __future__ import annotations

import json
import os
from pathlib import Path

from services.node.drivers.processes import Process
from services.node.drivers.tritonserver import TritonServer


def memory_of(folder: Path, *servers: str) -> list[Path]:
    found: list[Path] = []
    for name in servers:
        server = TritonServer(folder=folder / name, environment=Path(os.devnull), detach=False)
        found += Path("/dev/shm").glob(f"{server.memory_prefix}*")
    return found


def server_of(folder: Path) -> Process:
    return Process(**json.loads((folder / "process.json").read_text())["process"])
