"""Analytics in a process of its own beside `up`: writing into a store never makes a call wait.

A store computes in threads, and in one process those would have Python's lock whenever the event
loop wants it back.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from libs.common.lifecycle import Broken, background
from services.workers import keep_alive

NICE = 5  # a call goes first
START_S = 60.0
SCRAPE_S = 2.0
METRICS = "metrics http://"  # what its line says before the address
ITS = "constellation_analytics_"  # other metrics are of its process, as `up` has its own
log = logging.getLogger(__name__)


class Beside(Collector):
    """Keeps the process of `command` alive; what it shows of itself is a part of our metrics."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._metrics = ""  # host:port while it runs
        self._is_up = asyncio.Event()
        self._failed: int | None = None  # its exit code where it could not start

    def __repr__(self) -> str:
        return f"<Beside metrics={self._metrics!r}>"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it while inside; on the way out it stores what has come in."""
        keeping = keep_alive(
            lambda: self._command, name="analytics", nice=NICE, until_end=self._until_end
        )
        async with background(keeping, name="analytics"):
            yield

    async def ready(self) -> None:
        """Wait until it has started. Broken: it did not; why is on the error stream."""
        try:
            async with asyncio.timeout(START_S):
                await self._is_up.wait()
        except TimeoutError as error:
            raise Broken(f"analytics is not up after {START_S:.0f} s") from error
        if self._failed is not None:
            raise Broken(f"analytics could not start: exit code {self._failed}")

    def collect(self) -> Iterator[Metric]:
        """Yield its metrics of now; called in a thread. None: it is away."""
        if not self._metrics:
            return
        try:
            text = _page(self._metrics)
        except (OSError, http.client.HTTPException) as error:
            log.warning("cannot read the metrics of analytics: %r", error)
            return
        for family in text_string_to_metric_families(text):
            if family.name.startswith(ITS):
                yield family

    async def _until_end(self, process: Process) -> int | None:
        assert process.stdout
        async for line in process.stdout:
            self._hear(line.decode().strip())
        code = await process.wait()
        self._metrics = ""
        if not self._is_up.is_set():
            self._failed = code
            self._is_up.set()
            return None  # it would fail again
        return code

    def _hear(self, line: str) -> None:
        _, found, address = line.partition(METRICS)
        if found:
            self._metrics = address.split("/", 1)[0]
            self._is_up.set()


def _page(address: str) -> str:
    connection = http.client.HTTPConnection(address, timeout=SCRAPE_S)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()
