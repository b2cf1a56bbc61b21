"""Analytics as a process of its own, for tests that kill it.

Arguments: the state folder, and where to kill itself with -9, if anywhere:
`insert`, in a transaction whose rows are in, before it is committed; or `ack`,
when the rows are committed, before that is acknowledged. Both at the fifth time.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from services.analytics.app import Config, build, serve
from services.analytics.collector import Collector
from services.analytics.stores import duckdb


def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which at the fifth call kills the process instead."""
    calls = itertools.count(1)

    def wrapper(*args: Any) -> Any:
        if next(calls) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args)

    return wrapper


async def main(state_dir: Path, where: str) -> None:
    if where == "insert":
        duckdb.watermark_columns = deadly(duckdb.watermark_columns)
    if where == "ack":
        Collector._acknowledge = deadly(Collector._acknowledge)  # type: ignore[method-assign]
    config = Config(state_dir=state_dir, write_age_seconds=0.01, write_events=300)
    async with serve(config, build(config, registry=CollectorRegistry())):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
