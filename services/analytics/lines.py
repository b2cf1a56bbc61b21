"""One line of batches per store, so that each writes at its own pace.

A batch counts as stored once all stores have it. One store that is slow or
away fills its own line; then nothing more is taken, so no other line grows
for it, and the sinks keep what comes. What the other stores have by then
they are given again after a restart, and repetition is harmless to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from libs.common.events.values import Batch
from services.analytics.storing import Storing


class Lines:
    """The lines, by the names of their stores."""

    def __init__(self, lines: Mapping[str, Storing]) -> None:
        self.each = lines

    def __repr__(self) -> str:
        lines = ", ".join(f"{name}={line!r}" for name, line in self.each.items())
        return f"<Lines {lines}>"

    async def submit(self, batch: Batch, stored: Callable[[Batch], None]) -> None:
        """Put a batch in every line, as each has room; `stored` is called once all have it."""
        each_stored = _Countdown(len(self.each), stored)
        for line in self.each.values():
            await line.submit(batch, each_stored)

    async def flush(self, seconds: float) -> None:
        """Wait until all that was submitted is in all stores; TimeoutError when it takes longer."""
        flushes = (line.flush(seconds) for line in self.each.values())
        for error in await asyncio.gather(*flushes, return_exceptions=True):
            if error is not None:
                raise error

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write while inside; on leaving, what is not in all stores stays with its sink."""
        async with AsyncExitStack() as stack:
            for line in self.each.values():
                await stack.enter_async_context(line.running())
            yield


class _Countdown:
    """Calls once, at the last of so many calls."""

    __slots__ = ("_call", "_left")

    def __init__(self, left: int, call: Callable[[Batch], None]) -> None:
        self._left = left
        self._call = call

    def __call__(self, batch: Batch) -> None:
        self._left -= 1
        if not self._left:
            self._call(batch)
