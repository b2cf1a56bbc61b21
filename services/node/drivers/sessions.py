"""Commands in sessions of their own: what was started, and all that came of it, found and ended.

A session keeps its number as long as a process is in it, so whoever is in the session of a recorded
process is a child of that command, unless the number belongs to another process by now.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from services.node.drivers.json_files import write_json
from services.node.drivers.processes import PROC, Process
from services.node.ports import InstanceSpec

RECORD = "process.json"
KILL_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A command that was started in a folder, and how to know it again."""

    folder: Path
    process: Process
    port: int
    command: tuple[str, ...]  # as the catalog has it
    id: str
    model: str
    served_as: str

    @property
    def spec(self) -> InstanceSpec:
        """What was started."""
        return InstanceSpec(
            id=self.id,
            model=self.model,
            served_as=self.served_as,
            repository=Path(),
            command=self.command,
        )

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return what was recorded in a folder, or None where nothing was."""
        try:
            told = json.loads((folder / RECORD).read_text())
            told["process"] = Process(**told["process"])
            told["command"] = tuple(told["command"])
            return cls(folder=folder, **told)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self) -> None:
        """Record it."""
        told = asdict(self)
        del told["folder"]
        write_json(self.folder / RECORD, told)

    def is_alive(self) -> bool:
        """Whether the command itself still runs."""
        return self.process.is_alive()

    async def end(self, *, stop_s: float) -> None:
        """End it, gently at first, with all that came of it, and remove its folder."""
        self.process.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(stop_s):
                await self.process.ended()
        members = self._members()
        for each in members:
            each.signal(signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_S):
                for each in members:
                    await each.ended()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _members(self) -> list[Process]:
        holder = Process.of(self.process.pid)
        if holder is not None and holder != self.process:
            return []
        pids = (int(entry.name) for entry in PROC.glob("[0-9]*"))
        found = (Process.of(pid) for pid in pids if _session(pid) == self.process.pid)
        return [each for each in found if each is not None]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:  # it ended as we looked
        return 0
