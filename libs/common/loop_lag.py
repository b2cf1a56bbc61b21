"""How late an event loop is: what blocks it shows here before callers complain.

A timer that is due every 20 ms is late by as long as one piece of work kept the loop
from looking at its timers, so by what a request that came at that moment had to wait.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from libs.common.metrics import Histogram

EVERY_S = 0.020
# uvloop's timers have whole milliseconds, rounded up: the first bucket is what cannot be told.
BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
PREFIX = "constellation_event_loop_"


class LoopLag(Collector):
    """Measures one loop while `run` runs in it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lag = Histogram(
            f"{PREFIX}lag_seconds",
            "How late the timers of the event loop came, looked at every 20 ms.",
            (),
            bounds=BUCKETS_S,
        )
        self._late = self._lag[()]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        registry.register(self)

    def __repr__(self) -> str:
        return f"<LoopLag {sum(self._late.counts)} looks, {self._late.sum:.3f} s late in all>"

    async def run(self) -> None:
        """Look until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._wait(self._loop)
        try:
            await self._loop.create_future()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = time.monotonic() + EVERY_S
        self._timer = loop.call_later(EVERY_S, self._look, loop)  # cheaper than a task that sleeps

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self.late(max(0.0, time.monotonic() - self._due))
        self._wait(loop)

    def late(self, seconds: float) -> None:
        """Count one look."""
        self._late.observe(seconds)

    def stuck_s(self) -> float:
        """Return how long ago the next look was due: for other threads, which see it stuck."""
        return max(0.0, time.monotonic() - self._due)

    def describe(self) -> Iterator[Metric]:
        """Name what `collect` yields."""
        yield self._lag.empty()
        yield _tasks()

    def collect(self) -> Iterator[Metric]:
        """Show how late it was, and how many tasks there are now."""
        tasks = _tasks()
        if self._loop is not None:
            tasks.add_metric((), len(asyncio.all_tasks(self._loop)))
        yield self._lag.family()
        yield tasks


def _tasks() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        f"{PREFIX}tasks", "Tasks of the event loop; a request has none of its own."
    )
