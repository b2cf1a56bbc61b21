"""An event loop with nothing to do, in its own process: how late the machine makes even that."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import uvloop
from prometheus_client import CollectorRegistry, start_http_server

from bench.processes import free_ports, running, until
from bench.soak_look import scrape
from libs.common.lifecycle import background
from libs.common.loop_lag import LoopLag
from libs.common.promptness import be_prompt

START_S = 30.0


def main(argv: Sequence[str] | None = None) -> None:
    """Look at the loop as services look at theirs, and show that on a port, until stopped."""
    parser = argparse.ArgumentParser(prog="bare_loop", description=__doc__)
    parser.add_argument("port", type=int)
    registry = CollectorRegistry()
    lag = LoopLag(registry)
    start_http_server(parser.parse_args(argv).port, "127.0.0.1", registry)
    uvloop.run(looking(lag))


async def looking(lag: LoopLag) -> None:
    """Look until cancelled, with slices as services have them."""
    async with background(be_prompt(), name="promptness"):
        await lag.run()


@asynccontextmanager
async def bare_loop() -> AsyncIterator[str]:
    """Run one while inside; yield where its metrics are."""
    (port,) = free_ports(1)
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bench.bare_loop", str(port)]
    with (
        tempfile.TemporaryDirectory(prefix="cstb") as folder,
        running(command, log=Path(folder) / "bare_loop.log") as process,
    ):

        def answers() -> bool:
            process.check()
            with suppress(OSError):  # not yet
                return bool(scrape(base))
            return False

        await asyncio.to_thread(until, answers, seconds=START_S, what="a bare loop")
        yield base


if __name__ == "__main__":
    main()
