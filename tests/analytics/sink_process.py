"""A sink and its collector in one process, as under `up`, for tests that kill it.

Arguments: the state folder, the epoch of this start, and how many events to emit, one each
millisecond; each is told on standard output, with its moment, before it is emitted. In the end
it waits until everything is stored.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from prometheus_client import CollectorRegistry

from libs.common.events.sinks import SinkConfig, UnixSocketSink
from libs.common.events.spooling import SpoolingConfig
from services.analytics.app import Config, build, serve
from tests.analytics.support import event


async def main(state_dir: Path, epoch: int, count: int) -> None:
    config = Config(state_dir=state_dir)
    async with (
        serve(config, build(config, registry=CollectorRegistry())),
        UnixSocketSink(
            config.events_socket,
            server="local-server",
            boot_epoch=epoch,
            config=SinkConfig(spooling=SpoolingConfig(folder=state_dir / "spool")),
        ) as sink,
    ):
        for number in range(1, count + 1):
            os.write(1, b"%d %d\n" % (number, time.monotonic_ns()))
            sink.emit(event(number))
            await asyncio.sleep(0.001)
        while sink.waiting:
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
