"""The guard: outlives a driver that was killed, and clears away what its instances left.

A tritonserver dies with its starter, but a model's stub that waits for it in
shared memory then waits for ever, and the shared memory stays; the children of other
commands may live on as well. So a driver starts
`python -m services.node.drivers.guard FOLDER` with a pipe as its standard input:
when the pipe closes, whoever held its other end is gone, however it went.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

from services.node.drivers.process import sessions_in
from services.node.drivers.processes import Process
from services.node.drivers.tritonserver import TritonServer

CLOSE_S = 5.0


class Guard:
    """The guard of one driver's folder, as the driver sees it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pipe: int | None = None
        self._process: Process | None = None

    def __repr__(self) -> str:
        return f"<Guard {self._process}>"

    def start(self) -> None:
        """Start it."""
        watched, self._pipe = os.pipe()  # neither is inherited, but as the standard input
        try:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", "services.node.drivers.guard", str(self._folder)],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, watched, 0)],
                setsid=True,  # what kills the driver's group does not kill it
            )
        finally:
            os.close(watched)
        self._process = Process.of(pid)

    async def close(self) -> None:
        """Let it clear away what is left, and wait for its end."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        if self._process:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._process.ended()


async def clear(folder: Path) -> None:
    """End what the Tritons and processes of a node's folder left running, and free its memory."""
    for each in sessions_in(folder):
        await each.end(stop_s=0.0)
    servers = [folder / "shared", *(folder / "dedicated").glob("*")]
    unused = Path(os.devnull)
    await asyncio.gather(
        *(
            TritonServer(folder=each, environment=unused, detach=False).clear_leftovers()
            for each in servers
        )
    )


def main() -> None:
    """Wait for the driver's end, then clear away."""
    while os.read(0, 1):
        pass
    asyncio.run(clear(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
